// A folder that keeps each finished part of an analysis in a file of its own, so that
// an interrupted one goes on where it was. A file counts only when it is of the same
// model, plan, samples and heads.

package analysis

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"trtact/internal/atomicfile"
)

// Store is such a folder. A nil Store keeps nothing.
type Store struct {
	dir string
	key string
}

// storeVersion changes when the meaning of what is stored does.
const storeVersion = 1

// NewStore keeps parts in dir. about is everything that a result depends on, as values
// that JSON can hold.
func NewStore(dir string, about ...any) (*Store, error) {
	data, err := json.Marshal(append([]any{storeVersion}, about...))
	if err != nil {
		return nil, fmt.Errorf("keep parts of the analysis in %s: %w", dir, err)
	}
	sum := sha256.Sum256(data)
	return &Store{dir: dir, key: hex.EncodeToString(sum[:])}, nil
}

type stored struct {
	Key   string          `json:"key"`
	Part  string          `json:"part"`
	Value json.RawMessage `json:"value"`
}

// path is the file of a part. Names of parts hold names of nodes, which may be
// anything, so the file has a hash for its name.
func (s *Store) path(part string) string {
	sum := sha256.Sum256([]byte(part))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:8])+".json")
}

// load reads a part. A file that is not there, broken or of something else is as good
// as none.
func (s *Store) load(part string, value any) bool {
	if s == nil {
		return false
	}
	data, err := os.ReadFile(s.path(part))
	if err != nil {
		return false
	}
	var f stored
	return json.Unmarshal(data, &f) == nil && f.Key == s.key && f.Part == part && json.Unmarshal(f.Value, value) == nil
}

func (s *Store) save(part string, value any) error {
	if s == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("keep %s: %w", part, err)
	}
	data, err := json.MarshalIndent(stored{s.key, part, text}, "", " ")
	if err != nil {
		return fmt.Errorf("keep %s: %w", part, err)
	}
	return atomicfile.Write(s.path(part), append(data, '\n'))
}

// Keep gives the part of that name from the store, or makes and keeps it.
func Keep[T any](s *Store, part string, produce func() (T, error)) (T, error) {
	var value T
	if s.load(part, &value) {
		return value, nil
	}
	value, err := produce()
	if err != nil {
		return value, err
	}
	return value, s.save(part, value)
}
