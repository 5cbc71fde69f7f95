package coco

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trtact/internal/fault"
)

// Finding and reading the files of a data set. Every read is bounded and of
// regular files only: a pipe or a device named in a list must not hang a run.

// findImages lists the images in and under dir by path; names are relative to root. Hidden
// files and folders are left out. Links to folders are followed, after what is no link, and
// each folder is entered once, so that links in a circle end.
func findImages(dir, root string) ([]Image, error) {
	var images []Image
	entered := map[string]bool{} // by their paths without links
	for links := []string{dir}; len(links) > 0; links = links[1:] {
		start := links[0] + string(filepath.Separator) // or a link would not be followed
		err := filepath.WalkDir(start, func(path string, entry os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			hidden := path != start && strings.HasPrefix(entry.Name(), ".")
			switch {
			case entry.IsDir():
				real, err := filepath.EvalSymlinks(path)
				if err != nil {
					return err
				}
				if hidden || entered[real] {
					return filepath.SkipDir
				}
				entered[real] = true
			case hidden:
			case entry.Type()&os.ModeSymlink != 0 && isDir(path):
				links = append(links, path)
			case IsImageName(path):
				name, err := filepath.Rel(root, path)
				if err != nil {
					return err
				}
				images = append(images, Image{Path: absolute("", path), FileName: filepath.ToSlash(name)})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.FileName, b.FileName) })
	return images, nil
}

// Bounds on text files that name images or hold labels.
const (
	maxListBytes  = 256 << 20
	maxTextBytes  = 16 << 20 // one label or XML file
	maxLineLength = 1 << 20
)

// readList gives the lines of a list file that are neither blank nor comments.
func readList(path string) ([]string, error) {
	data, err := readFile(path, maxListBytes)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read list: %w", err))
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, fault.BadInput(fmt.Errorf("read list %s: it is not text: want one image path a line", path))
	}
	var lines []string
	s := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	s.Buffer(nil, maxLineLength)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fault.BadInput(fmt.Errorf("read list %s: %w", path, err))
	}
	return lines, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	return readStart(path, limit, limit)
}

// readStart reads the first n bytes, or what there is, of a regular file of at
// most limit bytes.
func readStart(path string, n, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // first: opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d allowed", path, info.Size(), limit)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, min(n, info.Size()))
	got, err := io.ReadFull(f, data)
	if err == io.ErrUnexpectedEOF { // it shrank meanwhile
		err = nil
	}
	return data[:got], err
}

func imageExtensions() []string {
	return []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
}

// IsImageName says whether a file is a picture by its name.
func IsImageName(path string) bool {
	return slices.Contains(imageExtensions(), strings.ToLower(filepath.Ext(path)))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// absolute is path, seen from dir, as an absolute path.
func absolute(dir, path string) string {
	path = filepath.FromSlash(path)
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}
