package status

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
)

// The exit codes of `caddy mcp doctor` beside 0, and 1 for wrong arguments.
const (
	exitBroken      = 2 // there is a problem
	exitUnreachable = 3 // there is no HTTP server
)

// doctorCommand is `caddy mcp doctor`.
func doctorCommand() *cobra.Command {
	var (
		opts                  doctor.Options
		fields                []string
		caFile                string
		asJSON, verbose, open bool
	)
	cmd := &cobra.Command{
		Use:   "doctor <url>",
		Short: "Finds out why clients cannot use or log in to an MCP server",
		Long: `
Connects to an MCP server like a client, with old and new protocol versions,
and prints the first problem and how to fix it. It checks the connection, CORS,
the first messages, the 401 and its WWW-Authenticate header, the OAuth metadata
of the MCP server and of the authorization server, and with --login or --token
a session.

Without a scheme it tries https, and on this machine http. Without a path it
tries /mcp and /sse.

It works with every MCP server. It prints no secrets, and does not follow
redirects with a token.

Exit codes: 0 clients can use the server or log in, perhaps with warnings;
1 wrong arguments; 2 there is a problem; 3 cannot connect.`,
		Example: `  caddy mcp doctor https://mcp.example.com/mcp
  caddy mcp doctor localhost:8080
  caddy mcp doctor https://mcp.example.com/mcp --origin https://app.example.com
  caddy mcp doctor https://mcp.example.com/mcp --upstream http://localhost:3000/mcp
  caddy mcp doctor https://mcp.example.com/mcp --login
  caddy mcp doctor https://mcp.example.com/mcp --json | jq .verdict`,
		Args:       oneArg("the URL of an MCP server", "https://mcp.example.com/mcp"),
		SuggestFor: []string{"check", "test", "diagnose"},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Origin, "origin", "", "origin of a web page that uses the server (default: the server's own, with warnings only)")
	flags.StringVar(&opts.Token, "token", "", "access token; @file reads it from a file, - from the standard input")
	flags.StringArrayVarP(&fields, "header", "H", nil, "header \"Name: value\" for the MCP server; can be repeated")
	flags.StringVar(&opts.Upstream, "upstream", "", "URL of the server behind the proxy, to compare")
	flags.BoolVar(&opts.Login, "login", false, "test the login in a browser")
	flags.StringVar(&opts.Call, "call", "", "call this tool, without arguments")
	flags.BoolVar(&opts.StepUp, "step-up", false, "with --login, log in again if the server asks for more scopes")
	flags.BoolVar(&open, "open", true, "with --login, open the browser; the URL is printed in any case")
	flags.StringVar(&opts.ClientID, "client-id", "", "ID of a registered client")
	flags.StringVar(&opts.ClientSecret, "client-secret", "", "secret of that client; @file reads it from a file")
	flags.BoolVar(&opts.Insecure, "insecure", false, "do not check certificates")
	flags.StringVar(&caFile, "ca", "", "file with CA certificates (PEM) to trust in addition to those of the system")
	flags.DurationVar(&opts.Timeout, "timeout", doctor.DefaultTimeout, "time limit of one request")
	flags.BoolVar(&asJSON, "json", false, "print everything as JSON")
	flags.BoolVarP(&verbose, "verbose", "v", false, "print each step, with what was sent and received")
	cmd.RunE = RunE(func(cmd *cobra.Command, args []string) (int, error) {
		opts.URL = args[0]
		if open {
			opts.Browse = doctor.Browse
		}
		var err error
		if opts.CAs, err = readCAs(caFile); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		return runDoctor(cmd, opts, fields, asJSON, verbose)
	})
	return cmd
}

// runDoctor checks the server and prints the report. It returns the exit code.
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

// maxCAs is the limit of a file with CA certificates, in bytes.
const maxCAs = 4 << 20

// readCAs returns the CAs of the system and those in a file; nil if there is no file.
func readCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxCAs))
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("--ca %s has no certificate in PEM; Caddy's own CA is in root.crt, in pki/authorities/local of its data directory", file)
	}
	return pool, nil
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
