package onnx

// A walk over the bytes of a file before they are decoded. Protocol buffers let
// a small file ask for a lot: two bytes make an empty node of some hundred bytes
// in memory, one byte an integer of eight, and messages within messages recurse.
// The walk finds out what decoding would cost and refuses before the memory is
// asked for. It also tells a file that is cut short from one that is no ONNX.

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxDepth is how deep subgraphs may lie within each other.
	maxDepth = 64
	// maxMemory is what a model may take once decoded, in bytes.
	maxMemory = 8 << 30
	// A decoded message's cost, about that of the largest (NodeProto) with its
	// counterpart in a Graph, and a string's beside its bytes.
	messageCost, stringCost = 512, 16
	// maxMessageDepth is the messages within messages that subgraphs of
	// maxDepth need (graph, node, attribute), with room for what they hold.
	maxMessageDepth = 3*maxDepth + 16
)

type message int

const (
	msgLeaf message = iota // holds no messages that matter
	msgModel
	msgGraph
	msgNode
	msgAttribute
	msgTensor
	msgSparse
	msgValue
	msgType
	msgTensorType
	msgElementType
	msgShape
	msgFunction
)

// nested lists, for each message, the fields that hold messages.
var nested = map[message]map[protowire.Number]message{
	msgModel:       {7: msgGraph, 8: msgLeaf, 14: msgLeaf, 25: msgFunction},
	msgGraph:       {1: msgNode, 5: msgTensor, 11: msgValue, 12: msgValue, 13: msgValue, 15: msgSparse},
	msgNode:        {5: msgAttribute},
	msgAttribute:   {5: msgTensor, 6: msgGraph, 10: msgTensor, 11: msgGraph, 14: msgType, 15: msgType, 22: msgSparse, 23: msgSparse},
	msgTensor:      {3: msgLeaf, 13: msgLeaf},
	msgSparse:      {1: msgTensor, 2: msgTensor},
	msgValue:       {2: msgType},
	msgType:        {1: msgTensorType, 4: msgElementType, 5: msgElementType, 8: msgTensorType, 9: msgElementType},
	msgTensorType:  {2: msgShape},
	msgElementType: {1: msgType, 2: msgType},
	msgShape:       {1: msgLeaf},
	msgFunction:    {7: msgNode},
}

var errCutShort = errors.New("it is cut short")

type scanner struct {
	cost int64 // of what has been walked over, once decoded
}

func (s *scanner) add(cost int64) error {
	if s.cost += cost; s.cost > maxMemory {
		return fmt.Errorf("decoded it would take more than %d GiB of memory", int64(maxMemory)>>30)
	}
	return nil
}

// walk goes over one message. graphs counts the graphs it lies in, depth the
// messages.
func (s *scanner) walk(kind message, data []byte, graphs, depth int) error {
	if kind == msgGraph {
		graphs++
	}
	if graphs > maxDepth || depth > maxMessageDepth {
		return fmt.Errorf("its subgraphs lie deeper than %d within each other", maxDepth)
	}
	if err := s.add(messageCost); err != nil {
		return err
	}
	fields := nested[kind]
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return wireError(n)
		}
		data = data[n:]
		if wire != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, wire, data); n < 0 {
				return wireError(n)
			}
			if err := s.add(8); err != nil { // where the field is a list
				return err
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return wireError(n)
		}
		data = data[n:]
		if inner, ok := fields[number]; ok {
			if err := s.walk(inner, value, graphs, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := s.add(bytesCost(kind, number, value)); err != nil {
			return err
		}
	}
	return nil
}

// bytesCost is what a field of bytes takes once decoded: a packed list of
// integers eight bytes for each, however few the file spends on it.
func bytesCost(kind message, number protowire.Number, value []byte) int64 {
	packed := false
	switch kind {
	case msgTensor:
		packed = number == 1 || number == 5 || number == 7 || number == 11
	case msgAttribute:
		packed = number == 8
	case msgSparse:
		packed = number == 3
	}
	if !packed {
		return stringCost + int64(len(value))
	}
	integers := int64(0)
	for _, b := range value {
		if b < 0x80 { // the last byte of an integer
			integers++
		}
	}
	return 8 * integers
}

func wireError(n int) error {
	err := protowire.ParseError(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutShort
	}
	return fmt.Errorf("its bytes are not a protocol buffer: %w", err)
}
