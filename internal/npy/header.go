package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The header's dictionary has three entries, descr, fortran_order and shape, and
// is written as Python would print it. This reads just that much Python.

const (
	magic = "\x93NUMPY"
	// maxHeader is far beyond what any array needs; numpy itself refuses more
	// than 10,000 bytes.
	maxHeader = 1 << 16
	maxRank   = 64 // numpy's own
)

// header describes an array as stored.
type header struct {
	element   element
	bigEndian bool
	fortran   bool
	shape     []int
}

// count is the number of elements; an error where it or its bytes overflow.
func (h header) count() (int, error) {
	n := int64(1)
	for _, size := range h.shape {
		if size < 0 {
			return 0, fmt.Errorf("shape %v has a negative size", h.shape)
		}
		if size == 0 {
			return 0, nil
		}
	}
	for _, size := range h.shape {
		if n > math.MaxInt64/int64(max(h.element.size, 1))/int64(size) {
			return 0, fmt.Errorf("shape %v is more than any file can hold", h.shape)
		}
		n *= int64(size)
	}
	return int(n), nil
}

// bytes is the size of the elements; h has been checked.
func (h header) bytes() int64 {
	n, _ := h.count()
	return int64(n) * int64(h.element.size)
}

// text is the header as it stands at the start of a file, padded so that the
// elements begin at a multiple of 64 bytes.
func (h header) text() []byte {
	order := byte('<')
	if h.element.size == 1 {
		order = '|'
	}
	var b bytes.Buffer
	b.WriteString(magic + "\x01\x00\x00\x00")
	fmt.Fprintf(&b, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (", order, h.element.kind, h.element.size)
	for _, size := range h.shape {
		fmt.Fprintf(&b, "%d, ", size)
	}
	b.WriteString("), }")
	for (b.Len()+1)%64 != 0 {
		b.WriteByte(' ')
	}
	b.WriteByte('\n')
	out := b.Bytes()
	binary.LittleEndian.PutUint16(out[8:], uint16(len(out)-10))
	return out
}

// readHeader reads and checks the header of a file of size bytes; start is where
// the elements begin.
func readHeader(r io.Reader, size int64) (h header, start int64, err error) {
	short := errors.New("not a .npy file: it is too short")
	var fixed [8]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return h, 0, short
	}
	if string(fixed[:6]) != magic {
		return h, 0, errors.New("not a .npy file")
	}
	var length, fields int64
	switch fixed[6] {
	case 1:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return h, 0, short
		}
		length, fields = int64(binary.LittleEndian.Uint16(b[:])), 10
	case 2, 3:
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return h, 0, short
		}
		length, fields = int64(binary.LittleEndian.Uint32(b[:])), 12
	default:
		return h, 0, fmt.Errorf(".npy format version %d: this program knows 1 to 3", fixed[6])
	}
	if length > maxHeader {
		return h, 0, fmt.Errorf("its header is said to have %d bytes, more than the %d allowed", length, maxHeader)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, 0, short
	}
	if h, err = parseHeader(string(text)); err != nil {
		return h, 0, fmt.Errorf("broken header: %w", err)
	}
	if _, err := h.count(); err != nil {
		return h, 0, err
	}
	start = fields + length
	if have := size - start; h.bytes() != have {
		return h, 0, fmt.Errorf("shape %v of %d-byte elements needs %d bytes, but %d follow the header", h.shape, h.element.size, h.bytes(), have)
	}
	return h, start, nil
}

// headerParser walks over the dictionary's text.
type headerParser struct{ rest string }

func parseHeader(text string) (header, error) {
	var h header
	p := &headerParser{text}
	if !p.take("{") {
		return h, errors.New("want a dictionary")
	}
	seen := map[string]bool{}
	for !p.take("}") {
		key, err := p.str()
		if err != nil {
			return h, err
		}
		if seen[key] || !p.take(":") {
			return h, fmt.Errorf("at %q", key)
		}
		seen[key] = true
		switch key {
		case "descr":
			err = p.descr(&h)
		case "fortran_order":
			err = p.boolean(&h.fortran)
		case "shape":
			h.shape, err = p.tuple()
		default:
			err = fmt.Errorf("unknown entry %.40q", key)
		}
		if err != nil {
			return h, err
		}
		if !p.take(",") {
			if !p.take("}") {
				return h, fmt.Errorf("after %q", key)
			}
			break
		}
	}
	if strings.TrimSpace(p.rest) != "" {
		return h, errors.New("more follows after the dictionary")
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return h, fmt.Errorf("no %q", key)
		}
	}
	return h, nil
}

// take skips blanks and then token, if it is there.
func (p *headerParser) take(token string) bool {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	rest, ok := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return ok
}

// str reads a quoted string without escapes.
func (p *headerParser) str() (string, error) {
	for _, quote := range []string{"'", `"`} {
		if p.take(quote) {
			text, rest, ok := strings.Cut(p.rest, quote)
			if !ok || strings.ContainsRune(text, '\\') {
				return "", errors.New("a text does not end")
			}
			p.rest = rest
			return text, nil
		}
	}
	return "", errors.New("want a quoted text")
}

func (p *headerParser) boolean(out *bool) error {
	switch {
	case p.take("True"):
		*out = true
	case p.take("False"):
		*out = false
	default:
		return errors.New("fortran_order is neither True nor False")
	}
	return nil
}

// descr reads an element type such as '<f4'.
func (p *headerParser) descr(h *header) error {
	text, err := p.str()
	if err != nil {
		return errors.New("its elements are records: save each field as an array of its own")
	}
	if len(text) < 3 {
		return fmt.Errorf("element type %.20q", text)
	}
	switch text[0] {
	case '<', '|', '=':
	case '>':
		h.bigEndian = true
	default:
		return fmt.Errorf("element type %.20q", text)
	}
	size, err := strconv.Atoi(text[2:])
	h.element = element{text[1], size}
	_, known := map[element]bool{
		{'f', 2}: true, {'f', 4}: true, {'f', 8}: true, {'b', 1}: true,
		{'i', 1}: true, {'i', 2}: true, {'i', 4}: true, {'i', 8}: true,
		{'u', 1}: true, {'u', 2}: true, {'u', 4}: true, {'u', 8}: true,
	}[h.element]
	if err != nil || !known {
		return fmt.Errorf("element type %.20q: want float, integer or bool", text)
	}
	return nil
}

// tuple reads (), (3,) or (1, 3, 640).
func (p *headerParser) tuple() ([]int, error) {
	if !p.take("(") {
		return nil, errors.New("shape is not a tuple")
	}
	sizes := []int{}
	for !p.take(")") {
		p.take("") // blanks
		end := 0
		for end < len(p.rest) && p.rest[end] >= '0' && p.rest[end] <= '9' {
			end++
		}
		size, err := strconv.Atoi(p.rest[:end])
		if err != nil {
			return nil, errors.New("shape holds something that is not a size")
		}
		p.rest = strings.TrimPrefix(p.rest[end:], "L") // as Python 2 wrote them
		if sizes = append(sizes, size); len(sizes) > maxRank {
			return nil, fmt.Errorf("more than %d dimensions", maxRank)
		}
		if !p.take(",") {
			if !p.take(")") {
				return nil, errors.New("shape does not end")
			}
			break
		}
	}
	return sizes, nil
}
