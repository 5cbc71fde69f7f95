package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// MPI makes sure that this program was built with MPI and that there is a mpirun.
// The test skips where either is missing.
func MPI(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("mpirun"); err != nil {
		t.Skip("skipped: needs an MPI with its mpirun (`make setup-test` installs Open MPI from Debian's packages)")
	}
	dir := os.Getenv("TRTACT_LIB")
	if dir == "" {
		dir = filepath.Join(Root(), "build", "lib")
	}
	if _, err := os.Stat(filepath.Join(dir, "libtrtact_mpi.so")); err != nil {
		t.Skip("skipped: the program was built without MPI (`make setup-test native` where Debian's packages can be installed)")
	}
}

// Mpirun is a command that runs a program as so many processes on this machine,
// however few cores it has, as root too.
func Mpirun(t testing.TB, ctx context.Context, size int, program string, args ...string) *exec.Cmd {
	t.Helper()
	flags := []string{"-n", strconv.Itoa(size)}
	if version, _ := exec.Command("mpirun", "--version").Output(); strings.Contains(string(version), "Open MPI") {
		flags = append(flags, "--oversubscribe", "--bind-to", "none")
	}
	cmd := exec.CommandContext(ctx, "mpirun", append(append(flags, program), args...)...)
	cmd.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
	return cmd
}
