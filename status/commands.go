package status

import (
	"errors"
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Commands returns the commands of this package, which stand below `caddy mcp`.
func Commands() []*cobra.Command {
	return []*cobra.Command{doctorCommand(), statusCommand(), sessionsCommand(), endCommand(), toolsCommand()}
}

// errExit has Caddy exit with code 1. It is not printed.
var errExit = errors.New("exit code 1")

// RunE returns a function for the RunE of a command. An error is printed as one line of
// text on standard error, and the exit code is then 1 or the code that run returns.
func RunE(run func(cmd *cobra.Command, args []string) (int, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true // the arguments are of the right form
		code, err := run(cmd, args)
		if code == 0 || code == 1 && err != nil {
			return err // which is printed by cobra
		}
		if err != nil {
			cmd.PrintErrln(cmd.ErrPrefix(), err.Error())
		}
		cmd.SilenceErrors = true
		if code == 1 {
			return errExit
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, args)
	}
}

// NoArgs returns a check that refuses arguments, and says what they could have been meant for.
func NoArgs(advice string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%s takes no argument %q; %s", cmd.CommandPath(), args[0], advice)
		}
		return nil
	}
}

// oneArg returns a check for one argument.
func oneArg(what, example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s needs %s, as in `%s %s`; there are %d arguments", cmd.CommandPath(), what, cmd.CommandPath(), example, len(args))
		}
		return nil
	}
}
