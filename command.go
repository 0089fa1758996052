package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
)

// The exit codes of `caddy mcp doctor` beside 0, and 1 for wrong arguments.
const (
	exitBroken      = 2 // a client stops somewhere
	exitUnreachable = 3 // nothing that speaks HTTP was reached
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "mcp",
		Usage: "doctor <url> | status",
		Short: "Looks at MCP servers",
		Long:  "Commands for MCP servers on the web, behind this Caddy or not.",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(doctorCommand(), statusCommand())
		},
	})
}

// doctorCommand is `caddy mcp doctor`.
func doctorCommand() *cobra.Command {
	var (
		opts                  doctor.Options
		fields                []string
		asJSON, verbose, open bool
	)
	cmd := &cobra.Command{
		Use:   "doctor <url>",
		Short: "Walks to an MCP server as a client does, and says where a login stops",
		Long: `
Walks to an MCP server as a client does, of the revisions before 2026-07-28 and
since: connection, preflight, initialize and server/discover, GET, the 401 and
its challenge, the metadata of the resource and of its authorization server,
the login and a session. It says at each step what was sent and seen, what a
script of a web page could read of it, which rule is met or broken, and what
mends it. The cause that comes first on a client's way is printed first.

It works with every MCP server, behind this module or not. Nothing that is
secret is printed, and no redirect is followed with a token.

Exit codes: 0 healthy, perhaps with warnings; 1 wrong arguments; 2 a client
stops somewhere; 3 the server is not reached.`,
		Example: `  caddy mcp doctor https://mcp.example.com/mcp
  caddy mcp doctor https://mcp.example.com/mcp --origin https://app.example.com
  caddy mcp doctor https://mcp.example.com/mcp --upstream http://localhost:3000/mcp
  caddy mcp doctor https://mcp.example.com/mcp --login
  caddy mcp doctor https://mcp.example.com/mcp --json | jq .verdict`,
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Origin, "origin", "", "origin of a web page that is to use the server (default: the server's own, for warnings)")
	flags.StringVar(&opts.Token, "token", "", "access token to go on with; @file reads it from a file, - from the standard input")
	flags.StringArrayVarP(&fields, "header", "H", nil, "header field \"Name: value\" for the server's own origin; can be repeated")
	flags.StringVar(&opts.Upstream, "upstream", "", "URL of the server without what stands in front, to compare")
	flags.BoolVar(&opts.Login, "login", false, "go through the login, in a browser")
	flags.BoolVar(&open, "open", true, "with --login, open the browser; the URL is printed in any case")
	flags.StringVar(&opts.ClientID, "client-id", "", "ID of a client that is registered")
	flags.StringVar(&opts.ClientSecret, "client-secret", "", "its secret; @file reads it from a file")
	flags.DurationVar(&opts.Timeout, "timeout", doctor.DefaultTimeout, "bound of one request")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.BoolVarP(&verbose, "verbose", "v", false, "print all that was sent and seen")
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		cmd.SilenceUsage = true // the arguments are of the right form
		opts.URL = cmd.Flags().Arg(0)
		if open {
			opts.Browse = doctor.Browse
		}
		return runDoctor(cmd, opts, fields, asJSON, verbose)
	})
	return cmd
}

// runDoctor walks and prints, and returns the exit code.
func runDoctor(cmd *cobra.Command, opts doctor.Options, fields []string, asJSON, verbose bool) (int, error) {
	var err error
	if opts.Header, err = parseFields(fields); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := errors.Join(readSecret(cmd.InOrStdin(), "--token", &opts.Token), readSecret(cmd.InOrStdin(), "--client-secret", &opts.ClientSecret)); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	opts.Log = cmd.ErrOrStderr()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	report, err := doctor.Run(ctx, opts)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(report)
	} else {
		err = report.WriteText(out, doctor.TextOptions{Color: inColour(out), Verbose: verbose})
	}
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("printing the report: %w", err)
	}
	cmd.SilenceErrors = true // the report has said it
	return exitCode(report), nil
}

func exitCode(report *doctor.Report) int {
	switch report.Verdict.State {
	case doctor.Healthy:
		return caddy.ExitCodeSuccess
	case doctor.Unreachable:
		return exitUnreachable
	default:
		return exitBroken
	}
}

// parseFields reads header fields as curl takes them.
func parseFields(fields []string) (http.Header, error) {
	h := make(http.Header)
	for i, field := range fields {
		name, value, ok := strings.Cut(field, ":")
		value = strings.Trim(value, " \t")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("--header %d is not of the form \"Name: value\"", i+1) // its value may be secret
		}
		h.Add(name, value)
	}
	return h, nil
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 64 << 10

// readSecret replaces @file by what is in it, and - by the standard input, so
// that a secret need not be an argument that all users of the machine see.
func readSecret(stdin io.Reader, name string, value *string) error {
	source := stdin
	if file, ok := strings.CutPrefix(*value, "@"); ok {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer func() { _ = f.Close() }()
		source = f
	} else if *value != "-" {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(source, maxSecret))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*value = strings.TrimSpace(string(raw))
	return nil
}

// inColour reports whether the output is a terminal that shows colours
// (https://no-color.org).
func inColour(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
