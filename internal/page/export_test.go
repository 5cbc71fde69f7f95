package page

import "testing"

// SamplePages are pages with every kind of block: harmless names and hostile ones.
func SamplePages(t testing.TB) map[string]Page {
	return map[string]Page{"plain": example(t, "yolo"), "hostile": example(t, hostile)}
}
