package collective

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// machineCores is the number of cores of the machine, also where this process is
// bound to some of them, as mpirun does.
func machineCores() int {
	data, err := os.ReadFile("/sys/devices/system/cpu/online") // "0-7,16-23"
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for _, part := range bytes.Split(bytes.TrimSpace(data), []byte(",")) {
		from, to, ranged := bytes.Cut(part, []byte("-"))
		a, err := strconv.Atoi(string(from))
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(string(to))
		}
		if err != nil || b < a {
			return runtime.NumCPU()
		}
		n += b - a + 1
	}
	return n
}
