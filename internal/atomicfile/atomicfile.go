// Package atomicfile writes files so that a reader, or a run killed half-way,
// finds the old content or the new, never a part: write beside, sync, rename.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Write replaces path with data.
func Write(path string, data []byte) error {
	return WriteFunc(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFunc replaces path, or the file that it links to, with what fill writes. When fill
// fails nothing is left behind. Missing parent folders are made. Folders, devices and
// pipes are refused.
func WriteFunc(path string, fill func(w io.Writer) error) (err error) {
	if err := checkKind(path); err != nil {
		return err
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return failed(path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(&file{f, path}, 1<<20)
	if err = fill(w); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return failed(path, err)
	}
	if err = f.Sync(); err != nil {
		return failed(path, err)
	}
	if err = f.Close(); err != nil {
		return failed(path, err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return failed(path, err)
	}
	if d, derr := os.Open(dir); derr == nil { // make the rename last
		d.Sync()
		d.Close()
	}
	return nil
}

// file is the temporary file, whose errors name the one it is to become.
type file struct {
	f    *os.File
	path string
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	if err != nil {
		err = failed(f.path, err)
	}
	return n, err
}

// failed is err without the temporary file's name.
func failed(path string, err error) error {
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		err = at.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("write %s: %w", path, err)
}

// Check tells, before the work that makes the content, why Write(path) could not
// succeed; nil when nothing speaks against it.
func Check(path string) error {
	if err := checkKind(path); err != nil {
		return err
	}
	return CheckDir(filepath.Dir(path))
}

// checkKind refuses what a file cannot take the place of.
func checkKind(path string) error {
	info, err := os.Stat(path)
	switch {
	case path == "" || os.IsPathSeparator(path[len(path)-1]) || err == nil && info.IsDir():
		return fmt.Errorf("write %s: it is a folder, expected a file name", path)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("write %s: it is a device or a pipe, expected a file name", path)
	}
	return nil
}

// CheckDir tells why no file could be written below the folder dir, which need
// not exist yet.
func CheckDir(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			if at == filepath.Dir(at) {
				return failed(dir, err)
			}
			continue
		case err != nil:
			return failed(dir, err)
		case !info.IsDir():
			return fmt.Errorf("write to %s: %s is a file, not a folder", dir, at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("write to %s: %w", dir, err)
		}
		return nil
	}
}
