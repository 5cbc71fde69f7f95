// Training over several processes: joining them, and being quiet on all but one.

package cli

import (
	"io"
	"log/slog"
	"os"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/collective"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/report"
)

func collectiveFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "collective", Category: flagsTraining, Value: string(collective.Auto),
		Usage: "`NAME` of what joins the processes that mpirun started (auto: MPI on CPUs, NCCL on GPUs)"}
}

// member is what a session is among several processes.
type member struct {
	launch collective.Launch
	alone  bool
	// helps: it is not rank 0, which speaks for all. told: rank 0 knows of the error
	// that ends it.
	helps, told bool
}

// find says which of several processes this one is.
func (s *session) find(c *urfave.Context) error {
	s.member = member{alone: true}
	if collective.Engine(c.String("collective")) == collective.None {
		return nil
	}
	l, err := collective.FromEnv(s.getenv)
	if err != nil {
		s.member.launch, s.member.helps = l, l.Rank > 0 // process 0 says it
		return err
	}
	if !strings.Contains(c.String("device"), ":") {
		s.device.index = l.LocalRank // a GPU for each process of this machine
	}
	s.member = member{launch: l, alone: l.Alone(collective.Engine(c.String("collective"))), helps: l.Rank > 0}
	if s.member.helps {
		s.quiet, s.out = true, io.Discard
		s.log = report.NewLogger(s.screen, slog.LevelError, s.logFormat == "json", s.screen.Color)
		slog.SetDefault(s.log)
	}
	return nil
}

// join makes m one of several, where it was started so.
func (s *session) join(c *urfave.Context, m *job.Machine) (err error) {
	if s.member.alone {
		return nil
	}
	m.Group, err = collective.Open(s.ctx, s.member.launch, collective.Engine(c.String("collective")), m.Device.Name(), s.device.index)
	if err != nil {
		return err
	}
	m.Group.WhenStuck(s.ctx, func(err error) {
		s.fail(err)
		os.Exit(fault.CodeInterrupted)
	})
	return nil
}

// silent reports whether another process says what ended this one.
func (s *session) silent(err error) bool {
	return s.member.helps && (s.member.told || fault.Code(err) == fault.CodeUsage)
}
