package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteFuncKeepsOldFileOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "a.txt")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := WriteFunc(path, func(w io.Writer) error { w.Write([]byte("new")); return boom })
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want boom", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Errorf("content %q, want the old one", got)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files left, want 1", len(left))
	}
}

// An error names the file that was to be written, not the temporary one.
func TestErrorNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	err := Write(path, []byte("x"))
	if err == nil || !strings.HasPrefix(err.Error(), "write "+path+": ") || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := (&file{f, "big.bin"}).Write([]byte("x")); err == nil || err.Error() != "write big.bin: no space left on device" {
			t.Errorf("error %v", err)
		}
	}
}

// A link stays one: what it leads to is replaced.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "there", "file"), filepath.Join(dir, "link")
	if err := Write(file, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("there", "file"), link); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if got, _ := os.ReadFile(file); err != nil || info.Mode()&os.ModeSymlink == 0 || string(got) != "new" {
		t.Errorf("%v %v, it leads to %q", info.Mode(), err, got)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(pipe, nil); err == nil || !strings.Contains(err.Error(), "device or a pipe") {
		t.Errorf("a pipe was replaced: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want string // "": it can be written
	}{
		{file, ""},
		{filepath.Join(dir, "new"), ""},
		{filepath.Join(dir, "a", "b", "new"), ""},
		{dir, "it is a folder"},
		{filepath.Join(dir, "new") + "/", "it is a folder"},
		{pipe, "device or a pipe"},
		{filepath.Join(file, "x"), "is a file, not a folder"},
		{filepath.Join(file, "x", "y"), "is a file, not a folder"},
		{filepath.Join(locked, "x"), "permission denied"},
	} {
		if c.path == filepath.Join(locked, "x") && os.Getuid() == 0 {
			continue // nothing is locked for root
		}
		err := Check(c.path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("Check(%s) = %v, want %q", c.path, err, c.want)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Errorf("Check left something behind: %v", list)
	}
}
