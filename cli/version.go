// trtact version: which program this is, for a bug report.

package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	urfave "github.com/urfave/cli/v2"
)

// Version of the program, by semantic versioning.
const Version = "0.1.0"

type versionResult struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a changed tree
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (s *session) versionCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "version",
		Usage:     "version, commit and platform of this program",
		UsageText: "trtact version",
		Category:  groupMachine,
		Description: `Prints which version this is and what it was built from. The libraries that it
found on this machine are in trtact doctor.`,
		Action: func(c *urfave.Context) error {
			if err := takes(c, 0, 0, ""); err != nil {
				return err
			}
			v := readVersion()
			return s.print(v, func() error {
				commit := ""
				if v.Commit != "" {
					commit = ", commit " + v.Commit
					if v.Modified {
						commit += " with changes"
					}
				}
				_, err := fmt.Fprintf(s.out, "trtact %s (%s, %s%s)\n", v.Version, v.Platform, v.Go, commit)
				return err
			})
		},
	}
}

func readVersion() versionResult {
	v := versionResult{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Commit = setting.Value
			if len(v.Commit) > 12 {
				v.Commit = v.Commit[:12]
			}
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}
