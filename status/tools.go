package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// tokenVariable is the environment variable with an access token for `caddy mcp tools`.
const tokenVariable = "MCP_TOKEN"

// toolsTimeout is the default time limit of one request of `caddy mcp tools`: the first
// start of a stdio server may download it.
const toolsTimeout = 60 * time.Second

// toolsCommand returns `caddy mcp tools`.
func toolsCommand() *cobra.Command {
	var (
		token   string
		fields  []string
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "tools <url>",
		Short: "Lists the tools of an MCP server",
		Long: `
Connects to an MCP server over Streamable HTTP, with or without a session, and
lists its tools. For a server that requires a login, give an access token with
--token or in the environment variable ` + tokenVariable + `.

Without a scheme the URL begins with http:// on this machine, and with https://
elsewhere; a host alone has the path /mcp.

No redirect is followed, so that the token reaches no other server.`,
		Example: `  caddy mcp tools localhost:8080
  ` + tokenVariable + `=... caddy mcp tools https://mcp.example.com/mcp --json`,
		Args: oneArg("the URL of an MCP server", "https://mcp.example.com/mcp"),
	}
	flags := cmd.Flags()
	flags.StringVar(&token, "token", "", "access token; @file reads it from a file, - from standard input (default: the variable "+tokenVariable+")")
	flags.StringArrayVarP(&fields, "header", "H", nil, "header \"Name: value\"; can be repeated")
	flags.DurationVar(&timeout, "timeout", toolsTimeout, "time limit of one request")
	flags.BoolVar(&asJSON, "json", false, "print the tools as JSON, with their schemas")
	cmd.RunE = RunE(func(cmd *cobra.Command, args []string) (int, error) {
		header, err := parseFields(fields)
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if err := readSecret(cmd.InOrStdin(), "--token", &token); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if token == "" {
			token = os.Getenv(tokenVariable)
		}
		if token != "" {
			header.Set("Authorization", "Bearer "+token)
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		l, err := newLister(args[0], header, timeout)
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if err := l.run(ctx); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		return caddy.ExitCodeSuccess, l.print(cmd.OutOrStdout(), asJSON)
	})
	return cmd
}

// The limits for what a server lists.
const (
	maxPages       = 100 // answers to tools/list
	maxTools       = 10_000
	maxDescription = 100 // characters of a description that are printed
)

// lister asks one server for its tools.
type lister struct {
	url     *url.URL
	header  http.Header // of the caller
	prober  *probe.Prober
	secrets *report.Secrets

	session, revision string
	stateless         bool

	server string // name and version
	tools  []json.RawMessage
}

// usualPath is the path of a server that is given as a host alone.
const usualPath = "/mcp"

// parseServer parses the URL of a server. A host without a scheme gets http:// on this
// machine and https:// elsewhere, because plain HTTP shows a token to everyone on the way.
func parseServer(raw string) (*url.URL, error) {
	if urls.HasScheme(raw) {
		return url.Parse(raw)
	}
	u, err := url.Parse("https://" + raw)
	if err != nil {
		return nil, err
	}
	if urls.Loopback(u) {
		u.Scheme = "http"
	}
	if u.Path == "" {
		u.Path = usualPath
	}
	return u, nil
}

func newLister(raw string, header http.Header, timeout time.Duration) (*lister, error) {
	u, err := parseServer(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("the URL must begin with https:// or http:// and a host, as in https://mcp.example.com/mcp")
	case u.User != nil:
		return nil, errors.New("the URL has a user name in it, which MCP clients do not send; use --header \"Authorization: ...\"")
	case timeout <= 0:
		return nil, fmt.Errorf("--timeout %v must be positive, such as 30s", timeout)
	}
	secrets := new(report.Secrets)
	for _, values := range header {
		for _, value := range values {
			secrets.AddField(value)
		}
	}
	secrets.AddQuery(u.RawQuery)
	return &lister{url: u, header: header, secrets: secrets, prober: probe.New(nil, timeout, header, urls.Origin(u), secrets)}, nil
}

// post returns a request with a message. id is that of the answer that is waited for.
func (l *lister) post(method, body, id string) probe.Request {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	switch {
	case l.stateless:
		h.Set("MCP-Protocol-Version", probe.StatelessRevision)
		h.Set("Mcp-Method", method)
	case l.revision != "":
		h.Set("MCP-Protocol-Version", l.revision)
		if l.session != "" {
			h.Set("Mcp-Session-Id", l.session)
		}
	}
	return probe.Request{Name: method, Method: http.MethodPost, URL: l.url, Header: h, Body: body, Private: true, Event: probe.Responds(id)}
}

// run opens a session if the server has them, and lists the tools.
func (l *lister) run(ctx context.Context) error {
	a := l.prober.Do(ctx, l.post("initialize", probe.InitializeMessage, probe.InitializeID))
	r, ok := a.Reply()
	switch {
	case a.OK() && ok && r.Error == nil:
		l.server, l.session, l.revision = r.ServerName(), a.Header.Get("Mcp-Session-Id"), r.Revision()
		defer l.end(context.WithoutCancel(ctx))
		if a := l.prober.Do(ctx, l.post("notifications/initialized", probe.InitializedMessage, "")); !a.OK() {
			return l.failure(a)
		}
	case a.Err == nil && a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden:
		l.stateless = true // or it is no MCP server, which server/discover shows
		discovered := l.prober.Do(ctx, l.post("server/discover", probe.DiscoverMessage, probe.DiscoverID))
		r, ok := discovered.Reply()
		if !discovered.OK() || !ok || r.Error != nil {
			return l.failure(a)
		}
		l.server = r.ServerName()
	default:
		return l.failure(a)
	}
	return l.list(ctx)
}

// list asks for the tools, page by page.
func (l *lister) list(ctx context.Context) error {
	cursor := ""
	for range maxPages {
		a := l.prober.Do(ctx, l.post("tools/list", probe.ListMessageFrom(l.stateless, cursor), probe.ListID))
		r, ok := a.Reply()
		if !a.OK() || !ok || r.Error != nil {
			return l.failure(a)
		}
		var result struct {
			Tools      []json.RawMessage `json:"tools"`
			NextCursor string            `json:"nextCursor"`
		}
		if err := json.Unmarshal(r.Result, &result); err != nil {
			return fmt.Errorf("the server's list of tools cannot be read: %w", err)
		}
		if l.tools = append(l.tools, result.Tools...); len(l.tools) > maxTools {
			return fmt.Errorf("the server lists more than %d tools", maxTools)
		}
		if cursor = result.NextCursor; cursor == "" {
			return nil
		}
	}
	return fmt.Errorf("the server's list of tools has more than %d pages", maxPages)
}

// end ends the session, if there is one.
func (l *lister) end(ctx context.Context) {
	if l.session == "" {
		return
	}
	r := l.post("end of the session", "", "")
	r.Method = http.MethodDelete
	r.Header.Del("Content-Type")
	r.HeaderOnly = true
	l.prober.Do(ctx, r)
}

// failure says why an answer has no result, and what to do.
func (l *lister) failure(a *probe.Answer) error {
	at := l.secrets.Text(urls.WithoutQuery(l.url))
	r, isReply := a.Reply()
	_, hasToken := l.header["Authorization"]
	switch {
	case a.Err != nil:
		return fmt.Errorf("%s does not answer: %s; `caddy mcp doctor %s` says more", at, a.Error, at)
	case a.Status == http.StatusUnauthorized && hasToken:
		return fmt.Errorf("%s refuses the credentials (401); get a new token, or find out why with `caddy mcp doctor %s --login`", at, at)
	case a.Status == http.StatusUnauthorized:
		return fmt.Errorf("%s requires a login (401); give an access token with --token or %s, or try the login with `caddy mcp doctor %s --login`", at, tokenVariable, at)
	case a.Redirect():
		return fmt.Errorf("%s redirects to %s; use that URL if it is the server's", at, l.secrets.Link(a.Header.Get("Location")))
	case isReply && r.Error != nil:
		return fmt.Errorf("%s answers %s with an error: %s", at, a.Name, l.secrets.Show(r.Error.Message, report.ShownText))
	case a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s answers %s with %d; check the path (often /mcp). For an HTTP+SSE server run `caddy mcp serve --to sse+<url>`, and list the tools there", at, a.Name, a.Status)
	}
	return fmt.Errorf("%s answers %s with %d and no MCP message; `caddy mcp doctor %s` says more", at, a.Name, a.Status, at)
}

// print prints the tools, one a line.
func (l *lister) print(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(map[string]any{"server": l.server, "tools": append([]json.RawMessage{}, l.tools...)})
	}
	p := &printer{colour: inColour(out)}
	name := l.server
	if name == "" {
		name = "The server"
	}
	fmt.Fprintf(&p.b, "%s has %s.\n", safetext.Printable(strings.TrimSpace(name)), count(uint64(len(l.tools)), "tool"))
	var rows [][]cell
	for _, raw := range l.tools {
		var tool struct{ Name, Title, Description string }
		if json.Unmarshal(raw, &tool) != nil {
			tool.Name = "?"
		}
		if tool.Description == "" {
			tool.Description = tool.Title
		}
		description, _, _ := strings.Cut(strings.TrimSpace(tool.Description), "\n")
		rows = append(rows, []cell{{"  " + safetext.Printable(safetext.Cut(tool.Name, maxDescription)), bold}, {text: safetext.Printable(safetext.Cut(description, maxDescription))}})
	}
	if len(rows) > 0 {
		p.table(rows)
	}
	_, err := io.WriteString(out, p.b.String())
	return err
}
