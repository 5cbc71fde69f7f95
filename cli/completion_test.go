package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func script(t *testing.T, shell string) string {
	t.Helper()
	r := run(t, "completion", shell)
	if r.code != 0 || r.out == "" {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	path := filepath.Join(t.TempDir(), "_trtact")
	if err := os.WriteFile(path, []byte(r.out), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("skipped: needs the shell %s", name)
	}
	return path
}

// What bash offers for a line whose last word is being typed.
func TestBashCompletes(t *testing.T) {
	bash, file := shell(t, "bash"), script(t, "bash")
	for _, c := range []struct {
		line    string
		has     string
		hasNot  string
		another string
	}{
		{"trtact ver", "version", "gpu", ""},
		{"trtact ", "gpu", "__build-engine", "completion"},
		{"trtact gpu --w", "--watch", "--json", ""},
		{"trtact --json gpu --", "--watch", "--output", "--threads"},
		{"trtact completion ", "fish", "gpu", "zsh"},
		{"trtact gpu --log-format ", "json", "gpu", "text"},
		{"trtact --device cu", "cuda", "auto", ""},
	} {
		words := strings.Split(c.line, " ")
		script := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _trtact; printf '%s\n' "${COMPREPLY[@]}"`
		out, err := exec.Command(bash, append([]string{"--norc", "-c", script, "bash", file}, words...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", c.line, err, out)
		}
		got := "\n" + string(out)
		if !strings.Contains(got, "\n"+c.has+"\n") || strings.Contains(got, "\n"+c.hasNot+"\n") {
			t.Errorf("%q offers %q; want %s and not %s", c.line, strings.Fields(got), c.has, c.hasNot)
		}
		if c.another != "" && !strings.Contains(got, "\n"+c.another+"\n") {
			t.Errorf("%q offers %q; want also %s", c.line, strings.Fields(got), c.another)
		}
	}
}

func TestZshScriptLoads(t *testing.T) {
	zsh, file := shell(t, "zsh"), script(t, "zsh")
	load := `autoload -Uz compinit; compinit -u -d "$2"; source "$1"; [[ "${_comps[trtact]}" == _trtact ]] || { echo not registered; exit 1 }`
	out, err := exec.Command(zsh, "-f", "-c", load, "zsh", file, filepath.Join(t.TempDir(), "dump")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFishCompletes(t *testing.T) {
	fish, file := shell(t, "fish"), script(t, "fish")
	for line, want := range map[string]string{
		"trtact ver":         "version",
		"trtact gpu --w":     "--watch",
		"trtact completion ": "zsh",
	} {
		cmd := exec.Command(fish, "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", file, line)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", line, err, out)
		}
		if !strings.Contains("\n"+string(out), "\n"+want) {
			t.Errorf("%q offers %q, want %s", line, out, want)
		}
	}
}
