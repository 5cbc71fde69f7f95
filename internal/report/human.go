// Sizes, durations and counts as people read them.

package report

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Bytes is n in binary units with three significant digits: "512 B",
// "1.87 MiB".
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-n)
	}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < 5 {
		value /= 1024
		unit++
	}
	return significant(value) + " " + []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// Duration is d in the unit that suits it: "840 µs", "12.3 ms", "4.56 s",
// "3 min 20 s", "2 h 05 min".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < 999500*time.Nanosecond:
		return significant(float64(d)/1e3) + " µs"
	case d < 999500*time.Microsecond:
		return significant(float64(d)/1e6) + " ms"
	case d < 59950*time.Millisecond:
		return significant(d.Seconds()) + " s"
	case d < time.Hour-500*time.Millisecond:
		s := int(math.Round(d.Seconds()))
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	}
	m := int(math.Round(d.Minutes()))
	return fmt.Sprintf("%d h %02d min", m/60, m%60)
}

// Count is n with a comma every three digits.
func Count(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// Plural is a number of things: "1 picture", "5,000 pictures".
func Plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return Count(int64(n)) + " " + thing
}

// significant is a value of at most four digits before the point, with three
// significant ones.
func significant(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
