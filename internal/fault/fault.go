// Package fault says whose fault an error is, which decides the program's exit
// code. Any package may mark an error; only main turns it into a code.
package fault

import (
	"context"
	"errors"
)

// Exit codes of the program, as the command line promises them.
const (
	CodeOK          = 0
	CodeFailed      = 1
	CodeUsage       = 2
	CodeNoDevice    = 3
	CodeBadInput    = 4
	CodeInterrupted = 130
)

type marked struct {
	error
	code int
}

func (m marked) Unwrap() error { return m.error }

// BadInput marks err as caused by a file that is not what it should be.
func BadInput(err error) error { return mark(err, CodeBadInput) }

// Usage marks err as a wrong use of the command line or of a configuration.
func Usage(err error) error { return mark(err, CodeUsage) }

// NoDevice marks err as caused by a missing GPU, driver or TensorRT.
func NoDevice(err error) error { return mark(err, CodeNoDevice) }

func mark(err error, code int) error {
	if err == nil {
		return nil
	}
	return marked{err, code}
}

// Code is the exit code for err: the outermost mark decides; without a mark it
// is CodeInterrupted for a cancelled context, else CodeFailed.
func Code(err error) int {
	var m marked
	switch {
	case err == nil:
		return CodeOK
	case errors.As(err, &m):
		return m.code
	case errors.Is(err, context.Canceled):
		return CodeInterrupted
	}
	return CodeFailed
}
