// Package rss tells how much memory this process has had at most, and how much there is.
package rss

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is the machine's memory in bytes; 0 where the system does not tell.
func Machine() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// Peak is the largest resident set that this process has had, in bytes; 0 where
// the system does not tell. It is the kernel's account of the process itself: what
// getrusage says of a child also has what the parent had in memory when it started it.
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
