package report

import (
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.00 KiB"}, {1536, "1.50 KiB"}, {10240, "10.0 KiB"},
		{1 << 20, "1.00 MiB"}, {7915121, "7.55 MiB"}, {1023 * 1024, "1.00 MiB"}, {130 << 20, "130 MiB"},
		{80 << 30, "80.0 GiB"}, {-2048, "-2.00 KiB"},
	} {
		if got := Bytes(c.n); got != c.want {
			t.Errorf("Bytes(%d) = %q, want %q", c.n, got, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0 ns"}, {840 * time.Microsecond, "840 µs"}, {12345 * time.Microsecond, "12.3 ms"},
		{999900 * time.Microsecond, "1.00 s"}, {4567 * time.Millisecond, "4.57 s"},
		{59990 * time.Millisecond, "1 min 00 s"}, {200 * time.Second, "3 min 20 s"},
		{59*time.Minute + 59*time.Second + 900*time.Millisecond, "1 h 00 min"},
		{125 * time.Minute, "2 h 05 min"}, {-time.Second, "-1.00 s"},
	} {
		if got := Duration(c.d); got != c.want {
			t.Errorf("Duration(%v) = %q, want %q", c.d, got, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1867405: "1,867,405", -12345: "-12,345"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}
