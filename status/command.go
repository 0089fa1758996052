package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// defaultWatch is how often `caddy mcp status --watch` asks.
const defaultWatch = 2 * time.Second

// options are the flags of `caddy mcp status`.
type options struct {
	admin         adminFlags
	asJSON, watch bool
	every         time.Duration
	challenges    int
}

// statusCommand returns `caddy mcp status`.
func statusCommand() *cobra.Command {
	var opts options
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows the MCP endpoints of a running Caddy",
		Long: `
Shows the MCP endpoints of a running Caddy, those with a problem first: their
state, the address of the upstream, how much they are used, refused origins, and
the last challenges with what the server sent and what the client got.

It asks Caddy's admin API. The output has no secrets.`,
		Example: `  caddy mcp status
  caddy mcp status --watch
  caddy mcp status --json | jq '.endpoints[].state'`,
		Args: NoArgs("it shows all endpoints"),
	}
	flags := cmd.Flags()
	opts.admin.add(cmd)
	flags.BoolVarP(&opts.watch, "watch", "w", false, "repeat until interrupted")
	flags.DurationVar(&opts.every, "every", defaultWatch, "with --watch, the time between two requests")
	flags.BoolVar(&opts.asJSON, "json", false, "print the answer of the admin API")
	flags.IntVar(&opts.challenges, "challenges", 3, "number of recent challenges to print for each endpoint")
	cmd.RunE = RunE(func(cmd *cobra.Command, _ []string) (int, error) { return run(cmd, opts) })
	return cmd
}

// run asks the admin API and prints its answer, once or repeatedly.
func run(cmd *cobra.Command, opts options) (int, error) {
	if opts.watch && opts.every <= 0 {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--every %v must be positive, such as 2s", opts.every)
	}
	address, err := opts.admin.find()
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	out := cmd.OutOrStdout()
	for first := true; ; first = false {
		raw, err := ask(address, http.MethodGet, AdminPath)
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if err := show(out, raw, opts, first); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if !opts.watch {
			return caddy.ExitCodeSuccess, nil
		}
		if !wait(ctx, opts.every) {
			return caddy.ExitCodeSuccess, nil
		}
	}
}

// wait returns true after d. It returns false if ctx ends before that.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func show(out io.Writer, raw []byte, opts options, first bool) error {
	if opts.asJSON {
		_, err := out.Write(raw)
		return err
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	if err := checkVersion(a.Version); err != nil {
		return err
	}
	p := &printer{colour: inColour(out), challenges: opts.challenges, now: a.Time}
	p.print(&a)
	text := p.b.String()
	switch {
	case first:
	case p.colour:
		text = "\x1b[H\x1b[2J" + text // a new page on the terminal
	default:
		text = "\n" + text
	}
	_, err := io.WriteString(out, text)
	return err
}
