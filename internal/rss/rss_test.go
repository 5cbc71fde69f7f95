package rss

import "testing"

// TestPeak: memory that was touched shows, and still does when it is given back.
func TestPeak(t *testing.T) {
	const size = 64 << 20
	before := Peak()
	touched := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		touched[i] = 1
	}
	after := Peak()
	if before < 1<<20 || after < size || after < before {
		t.Errorf("%d bytes before, %d after %d bytes were touched (%d)", before, after, size, touched[size/2])
	}
}
