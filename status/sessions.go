package status

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// sessionsCommand returns `caddy mcp sessions`.
func sessionsCommand() *cobra.Command {
	var (
		admin    adminFlags
		endpoint string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Lists the open MCP sessions of a running Caddy",
		Long: `
Lists the sessions that a running Caddy holds for stdio servers, HTTP+SSE servers
and legacy_sse, with an id for ` + "`caddy mcp end`" + `. Sessions that pass through to
an HTTP server unchanged belong to that server and are not listed.

The ids are hashes: nobody can use a session with them. USER is a hash too, the
same for two sessions of one user.`,
		Example: `  caddy mcp sessions
  caddy mcp sessions --endpoint https://mcp.example.com/mcp --json`,
		Args: NoArgs("use --endpoint to list the sessions of one endpoint"),
	}
	flags := cmd.Flags()
	admin.add(cmd)
	flags.StringVar(&endpoint, "endpoint", "", "list the sessions of the endpoint with this `name`, as caddy mcp status prints it")
	flags.BoolVar(&asJSON, "json", false, "print the answer of the admin API")
	cmd.RunE = RunE(func(cmd *cobra.Command, _ []string) (int, error) {
		address, err := admin.find()
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		path := sessionsPath
		if endpoint != "" {
			path += "?endpoint=" + url.QueryEscape(endpoint)
		}
		raw, err := ask(address, http.MethodGet, path)
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if asJSON {
			_, err := cmd.OutOrStdout().Write(raw)
			return caddy.ExitCodeSuccess, err
		}
		all, err := readSessions(raw)
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		p := &printer{colour: inColour(cmd.OutOrStdout()), now: time.Now()}
		p.sessions(all)
		_, err = cmd.OutOrStdout().Write([]byte(p.b.String()))
		return caddy.ExitCodeSuccess, err
	})
	return cmd
}

// endCommand returns `caddy mcp end`.
func endCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "end <id>...",
		Short: "Ends MCP sessions of a running Caddy",
		Long: `
Ends sessions by their ids in ` + "`caddy mcp sessions`" + `. The server of such a session
is stopped. Its client gets 404 for the next request, and starts a new session.`,
		Example:    `  caddy mcp end 3f2a9c0d4b5e6f71`,
		SuggestFor: []string{"stop", "kill", "close"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s needs the id of a session; `caddy mcp sessions` lists them", cmd.CommandPath())
			}
			return nil
		},
	}
	admin.add(cmd)
	cmd.RunE = RunE(func(cmd *cobra.Command, ids []string) (int, error) {
		address, err := admin.find()
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if err := endSessions(cmd, address, ids); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		return caddy.ExitCodeSuccess, nil
	})
	return cmd
}

// endSessions ends the sessions with these ids. If one of them is not open, none is ended.
func endSessions(cmd *cobra.Command, address string, ids []string) error {
	raw, err := ask(address, http.MethodGet, sessionsPath)
	if err != nil {
		return err
	}
	all, err := readSessions(raw)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(s sessionState) bool { return s.ID == id }) {
			return fmt.Errorf("there is no session %q; `caddy mcp sessions` lists the ids", id)
		}
	}
	for _, id := range ids {
		if _, err := ask(address, http.MethodDelete, sessionsPath+"/"+id); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "ended session "+id)
	}
	return nil
}

// readSessions parses the answer of the admin API.
func readSessions(raw []byte) ([]sessionState, error) {
	var a sessionsAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	return a.Sessions, checkVersion(a.Version)
}

// sessions prints one line for each session.
func (p *printer) sessions(all []sessionState) {
	if len(all) == 0 {
		p.b.WriteString("No session is open.\n")
		return
	}
	rows := [][]cell{{{"ID", bold}, {"ENDPOINT", bold}, {"TRANSPORT", bold}, {"PROTOCOL", bold}, {"USER", bold}, {"STARTED", bold}, {"LAST USED", bold}, {"REQUESTS", bold}}}
	for _, s := range all {
		rows = append(rows, []cell{
			{text: safetext.Printable(s.ID)},
			{text: safetext.Printable(s.Endpoint)},
			{text: safetext.Printable(string(s.Transport))},
			{text: orDash(s.Protocol)},
			{text: orDash(s.User)},
			{text: p.since(s.Begun)},
			{text: p.since(s.Used)},
			{text: strconv.Itoa(s.Requests)},
		})
	}
	p.table(rows)
}

// orDash returns a printable text, or a dash for an empty one.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return safetext.Printable(text)
}

// since describes a time, or returns a dash if it is zero.
func (p *printer) since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return p.ago(t)
}
