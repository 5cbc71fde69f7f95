// trtact version: which program this is, for a bug report.

package cli

import (
	"fmt"
	"runtime"

	urfave "github.com/urfave/cli/v2"
)

// Version of the program, by semantic versioning.
const Version = "0.1.0"

type versionResult struct {
	Version  string `json:"version"`
	Build    string `json:"build,omitempty"` // what version control calls the source
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (s *session) versionCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "version",
		Usage:     "version and platform of this program",
		UsageText: "trtact version",
		Category:  groupMachine,
		Description: `Prints which version this is and what it was built from. The libraries that it
finds on this machine are in trtact doctor.`,
		Action: func(c *urfave.Context) error {
			if err := takes(c, 0, 0, ""); err != nil {
				return err
			}
			v := versionResult{Version: Version, Build: s.build, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			return s.print(v, func() error {
				build := ""
				if v.Build != "" {
					build = "build " + v.Build + ", "
				}
				_, err := fmt.Fprintf(s.out, "trtact %s (%s%s, %s)\n", v.Version, build, v.Platform, v.Go)
				return err
			})
		},
	}
}
