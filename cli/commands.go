// The list of commands, in the order the help shows them.

package cli

import (
	urfave "github.com/urfave/cli/v2"
)

// Groups of commands in the help.
const (
	groupMain    = "The main job"
	groupSteps   = "Step by step"
	groupMachine = "This machine"
)

func (s *session) commands() []*urfave.Command {
	list := []*urfave.Command{
		s.buildCommand(),
		s.compressCommand(),
		s.calibrateCommand(),
		s.analyzeCommand(),
		s.evalCommand(),
		s.detectCommand(),
		s.compareCommand(),
		s.runCommand(),
		s.benchCommand(),
		s.inspectCommand(),
		s.gpuCommand(),
		s.doctorCommand(),
		s.completionCommand(),
		s.versionCommand(),
		s.manCommand(),
	}
	for _, c := range list {
		c.HideHelp = true // this package has its own
	}
	return list
}

// takes checks the number of positional arguments; form is how they are written
// in the usage line. A most below 0 is no bound.
func takes(c *urfave.Context, least, most int, form string) error {
	n := c.NArg()
	switch {
	case n < least:
		return usage(c.Command.Name, "%s needs %s", c.Command.Name, form)
	case most == 0 && n > 0:
		return usage(c.Command.Name, "%s takes no argument, got %q", c.Command.Name, c.Args().First())
	case most >= 0 && n > most:
		return usage(c.Command.Name, "%s takes %s, got %q beyond that", c.Command.Name, form, c.Args().Get(most))
	}
	return nil
}
