// Package rss tells how much memory this process has had at most. It reads the
// kernel's account of the process itself: what getrusage says of a child also has
// what the parent had in memory when it started the child.
package rss

import (
	"os"
	"strconv"
	"strings"
)

// Peak is the largest resident set that this process has had, in bytes; 0 where
// the system does not tell.
func Peak() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return kib * 1024
			}
		}
	}
	return 0
}
