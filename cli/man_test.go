package cli

import (
	"strings"
	"testing"
)

// TestManual: every command and flag stands in the page, and nothing that its format
// would read as its own.
func TestManual(t *testing.T) {
	r := run(t, "man")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	for _, want := range []string{".TH trtact 1", ".SH COMMANDS", ".SS build", ".SS gpu", `\fB--max-drop LOSS\fP`, `\fB-w, --watch\fP`, ".SH EXIT STATUS", "TRTACT_LIB"} {
		if !strings.Contains(r.out, want) && !strings.Contains(r.out, strings.Replace(want, ".SS", ".SH", 1)) {
			t.Errorf("no %q in the page", want)
		}
	}
	if help := run(t, "--help"); strings.Contains(help.out, "\n  man ") {
		t.Error("the hidden command is in the help")
	}
}
