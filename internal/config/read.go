// Reading a configuration. The walk is driven by the table of keys and is only
// as deep as the table, so neither aliases nor nesting can make it long.

package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"

	"trtact/internal/fault"
	"trtact/internal/nearest"
)

// maxBytes is far above any configuration, and small enough that no trick in it
// can cost much time.
const maxBytes = 1 << 20

// Load reads a configuration file. The notes are one line each on keys that the
// file has and that change nothing here. Errors are fault.BadInput and name the
// file, the line and the key.
func Load(path string) (c *Config, notes []string, err error) {
	// Without O_NONBLOCK, opening a pipe would wait for its writer for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fault.BadInput(fmt.Errorf("read configuration: %w", err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, nil, fault.BadInput(fmt.Errorf("read configuration %s: it is no file but a %s", path, kindOf(info.Mode())))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, nil, fault.BadInput(fmt.Errorf("read configuration: %w", err))
	}
	return Parse(path, data)
}

func kindOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&os.ModeNamedPipe != 0:
		return "pipe"
	}
	return "device"
}

// Parse reads a configuration from the text of a file; name stands for the file
// in errors and notes.
func Parse(name string, data []byte) (*Config, []string, error) {
	fail := func(format string, a ...any) (*Config, []string, error) {
		return nil, nil, fault.BadInput(fmt.Errorf("read configuration %s%w", name, fmt.Errorf(format, a...)))
	}
	if len(data) > maxBytes {
		return fail(": larger than %d MiB, which no configuration is", maxBytes>>20)
	}
	root, err := document(data)
	if err != nil {
		return fail("%w", err)
	}
	r := &reader{file: name, config: Default(), places: map[string]place{}}
	err = r.sections(root)
	if err == nil {
		err = r.complete()
	}
	if err == nil {
		err = r.config.check()
	}
	var p *problem
	if errors.As(err, &p) {
		at := r.find(p.path)
		if at.line != 0 {
			p = &problem{at.name, p.text, cmp.Or(p.line, at.line)}
		}
		if p.line == 0 {
			return fail(": %w", p)
		}
		return fail(":%d: %w", p.line, p)
	}
	return r.config, r.notes, nil
}

// A problem is an error at a key.
type problem struct {
	path string
	text string
	line int // 0: where the key stands
}

func (p *problem) Error() string {
	if p.path == "" {
		return p.text
	}
	return p.path + " " + p.text
}

func wrong(n *yaml.Node, path, format string, a ...any) error {
	return &problem{path, fmt.Sprintf(format, a...), n.Line}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// document parses the one YAML document of a file. Its error begins with ":" and
// the line where there is one.
func document(data []byte) (root *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil { // the parser panics on a few malformed texts
			root, err = nil, fmt.Errorf(": not YAML: %v", p)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New(": it is empty; expected sections such as Global and TrainConfig")
	case err != nil:
		return nil, syntaxError(err)
	}
	switch err := d.Decode(&next); {
	case err == nil:
		return nil, fmt.Errorf(":%d: a second document begins here; a configuration is one", next.Line)
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(err)
	}
	if len(doc.Content) != 1 {
		return nil, errors.New(": it is empty; expected sections such as Global and TrainConfig")
	}
	return follow(doc.Content[0]), nil
}

func syntaxError(err error) error {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	if text = printable(text[len(m[0]):]); m[1] != "" {
		return fmt.Errorf(":%s: not YAML: %s", m[1], text)
	}
	return fmt.Errorf(": not YAML: %s", text)
}

// place is where a key stands, and its path as the file spells it.
type place struct {
	line int
	name string
}

type reader struct {
	file   string
	config *Config
	places map[string]place
	notes  []string
}

// find is the place of a key, or of the nearest key around it that is there.
func (r *reader) find(path string) place {
	for name := path; name != ""; {
		if p, ok := r.places[name]; ok {
			return place{p.line, p.name + path[len(name):]}
		}
		dot := strings.LastIndexByte(name, '.')
		name = name[:max(dot, 0)]
	}
	return place{}
}

func (r *reader) has(path string) bool { _, ok := r.places[path]; return ok }

func (r *reader) sections(root *yaml.Node) error {
	if root.Kind != yaml.MappingNode {
		return wrong(root, "", "expected sections such as Global and TrainConfig, found %s", describe(root))
	}
	all := Sections()
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, body := root.Content[i], follow(root.Content[i+1])
		key, err := keyName(name, "")
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(s Section) bool { return key == s.Name || s.Also != "" && key == s.Also })
		if at < 0 {
			return unknownSection(name, key, all)
		}
		s := all[at]
		if p, ok := r.places[s.Name]; ok {
			if key != p.name {
				return wrong(name, "", "section %s says the same as %s on line %d; keep one of them", key, p.name, p.line)
			}
			return wrong(name, "", "section %s is given twice; the first is on line %d", key, p.line)
		}
		r.places[s.Name] = place{name.Line, key}
		if s.given != nil {
			*s.given(r.config) = true
		}
		if isNull(body) { // a section without keys: all defaults
			continue
		}
		if err := r.mapping(body, s.Name, s.Keys); err != nil {
			return err
		}
	}
	return nil
}

func unknownSection(n *yaml.Node, key string, all []Section) error {
	names := []string{}
	for _, refused := range RefusedSections() {
		if key == refused.Name {
			return wrong(n, "", "section %s is not done by this program: %s", key, refused.Why)
		}
		names = append(names, refused.Name)
	}
	for _, s := range all {
		if names = append(names, s.Name); s.Also != "" {
			names = append(names, s.Also)
		}
	}
	if in := homeOf(key, all); in != "" {
		return wrong(n, "", "%s belongs into the section %s", show(key), in)
	}
	return wrong(n, "", "%s is not a known section%s", show(key), didYouMean(key, names))
}

// homeOf is the section that has a key, directly, "" when none or several do.
func homeOf(key string, all []Section) string {
	home := ""
	for _, s := range all {
		if keyIndex(s.Keys, key) < 0 {
			continue
		}
		if home != "" {
			return ""
		}
		home = s.Name
	}
	return home
}

func keyIndex(keys []Key, name string) int {
	return slices.IndexFunc(keys, func(k Key) bool { return k.Name == name || slices.Contains(k.Also, name) })
}

// mapping reads the keys of a section or of a mapping inside one.
func (r *reader) mapping(n *yaml.Node, path string, keys []Key) error {
	if n.Kind != yaml.MappingNode {
		return wrong(n, path, "must be a mapping of keys to values, found %s", describe(n))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], follow(n.Content[i+1])
		key, err := keyName(name, path)
		if err != nil {
			return err
		}
		at := keyIndex(keys, key)
		if at < 0 {
			return unknownKey(name, key, path, keys)
		}
		k := &keys[at]
		full := path + "." + k.Name
		if p, ok := r.places[full]; ok {
			if spelled := path + "." + key; spelled != p.name {
				return wrong(name, spelled, "says the same as %s on line %d; keep one of them", p.name, p.line)
			}
			return wrong(name, p.name, "is given twice; the first is on line %d", p.line)
		}
		r.places[full] = place{name.Line, path + "." + key}
		if err := r.key(value, full, k); err != nil {
			return err
		}
	}
	return r.fitting(n, path, keys)
}

func unknownKey(n *yaml.Node, key, path string, keys []Key) error {
	var names []string
	for _, k := range keys {
		names = append(append(names, k.Name), k.Also...)
	}
	if in := homeOf(key, Sections()); in != "" {
		return wrong(n, path+"."+show(key), "is not a known key here; it belongs into the section %s", in)
	}
	return wrong(n, path+"."+show(key), "is not a known key%s", didYouMean(key, names))
}

func didYouMean(word string, known []string) string {
	if near := nearest.Word(word, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; docs/configuration.md lists all"
}

// fitting checks the keys of one mapping against its type and each other.
func (r *reader) fitting(n *yaml.Node, path string, keys []Key) error {
	kind := typeIn(keys, r.config)
	if at := keyIndex(keys, "type"); r.has(path+".type") && keys[at].allowed != nil && !slices.Contains(keys[at].allowed, kind) {
		return nil // check says so
	}
	for _, k := range keys {
		full := path + "." + k.Name
		fits := len(k.only) == 0 || slices.Contains(k.only, kind)
		switch {
		case r.has(full) && !fits:
			return &problem{full, fmt.Sprintf("belongs to type %s, and type is %s", strings.Join(k.only, " or "), word(kind)), 0}
		case r.has(full) && k.instead != "" && r.has(path+"."+k.instead):
			return &problem{full, "says the same as " + k.instead + "; keep one of them", 0}
		case !r.has(full) && fits && k.must:
			if len(k.only) > 0 {
				return wrong(n, path, "of type %s needs the key %s", kind, k.Name)
			}
			return wrong(n, path, "needs the key %s", k.Name)
		}
	}
	return nil
}

// typeIn is the value of the key "type" among keys, "" when there is none.
func typeIn(keys []Key, c *Config) string {
	if at := keyIndex(keys, "type"); at >= 0 && keys[at].field != nil {
		return *keys[at].field(c).(*string)
	}
	return ""
}

func (r *reader) key(n *yaml.Node, path string, k *Key) error {
	switch {
	case k.refused:
		if !isOff(n) {
			return wrong(n, path, "is not done by this program: %s", k.Meaning)
		}
		return nil
	case k.idle:
		if !isOff(n) {
			r.notes = append(r.notes, fmt.Sprintf("%s:%d: %s changes nothing: %s", r.file, n.Line, path, k.Meaning))
		}
		return nil
	case k.fixed != "":
		if !isNull(n) && (n.Kind != yaml.ScalarNode || !strings.EqualFold(n.Value, k.fixed)) {
			return wrong(n, path, "must be %s, found %s: %s", k.fixed, describe(n), k.Meaning)
		}
		return nil
	case k.scalar != nil && n.Kind == yaml.ScalarNode:
		r.places[path+"."+k.Name] = place{n.Line, path}
		return assign(n, path, false, k.scalar(r.config))
	case k.Keys != nil:
		if k.null && isNull(n) {
			return nil
		}
		return r.mapping(n, path, k.Keys)
	}
	return assign(n, path, k.null, k.field(r.config))
}

// complete fills in what follows from what the file has and has not.
func (r *reader) complete() error {
	t := &r.config.Train
	if r.has("TrainConfig.epochs") && !r.has("TrainConfig.train_iter") {
		t.TrainIter = 0
	}
	if t.Epochs == 0 && t.TrainIter == 0 {
		t.TrainIter = defaultTrainIter
	}
	if clip := "TrainConfig.optimizer_builder.grad_clip"; r.has(clip+".max") && !r.has(clip+".min") {
		t.GradClip.Min = -t.GradClip.Max
	}
	return nil
}

// keyName is the name of a key in a mapping at path.
func keyName(n *yaml.Node, path string) (string, error) {
	n = follow(n)
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", wrong(n, path, "has %s where the name of a key should be", describe(n))
	case n.Value == "<<" && n.ShortTag() == "!!merge":
		return "", wrong(n, path, "has a merge key (<<), which is not read; write the keys out")
	}
	return n.Value, nil
}

// follow is what an alias stands for. An alias of an alias does not exist.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
