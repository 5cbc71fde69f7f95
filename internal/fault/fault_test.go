package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestCode(t *testing.T) {
	base := errors.New("x")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{base, 1},
		{Usage(base), 2},
		{fmt.Errorf("load: %w", NoDevice(base)), 3},
		{BadInput(base), 4},
		{fmt.Errorf("run: %w", context.Canceled), 130},
	} {
		if got := Code(c.err); got != c.want {
			t.Errorf("Code(%v) = %d, want %d", c.err, got, c.want)
		}
	}
	if BadInput(nil) != nil {
		t.Error("BadInput(nil) is not nil")
	}
}
