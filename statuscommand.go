package mcpauthbridge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
)

// defaultWatch is how often `caddy mcp status --watch` asks.
const defaultWatch = 2 * time.Second

// statusOptions are the flags of `caddy mcp status`.
type statusOptions struct {
	address, config, adapter string
	asJSON, watch            bool
	every                    time.Duration
	challenges               int
}

// statusCommand is `caddy mcp status`.
func statusCommand() *cobra.Command {
	var opts statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows what a running Caddy remembers of its MCP endpoints",
		Long: `
Shows the MCP endpoints of a running Caddy: how much they are used, the last
challenges with what the server sent and what the client got, which origins were
refused, and what is known of metadata and upstreams. It asks Caddy's admin API,
at --address, or where the configuration of --config says, or at the default.

Nothing that is secret is shown.`,
		Example: `  caddy mcp status
  caddy mcp status --watch
  caddy mcp status --json | jq '.endpoints[].challenges[0]'`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.address, "address", "", "address of the admin API, if not the default")
	flags.StringVarP(&opts.config, "config", "c", "", "configuration file to take the address from, if --address is not used")
	flags.StringVarP(&opts.adapter, "adapter", "a", "", "name of the config adapter to apply to it")
	flags.BoolVarP(&opts.watch, "watch", "w", false, "go on until it is interrupted")
	flags.DurationVar(&opts.every, "every", defaultWatch, "with --watch, how often to ask")
	flags.BoolVar(&opts.asJSON, "json", false, "print the answer of the admin API")
	flags.IntVar(&opts.challenges, "challenges", 3, "how many of the last challenges to print for each endpoint")
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		cmd.SilenceUsage = true // the arguments are of the right form
		return runStatus(cmd, opts)
	})
	return cmd
}

// runStatus asks and prints, once or again and again.
func runStatus(cmd *cobra.Command, opts statusOptions) (int, error) {
	if opts.watch && opts.every <= 0 {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--every %v is not a positive duration", opts.every)
	}
	address, err := caddycmd.DetermineAdminAPIAddress(opts.address, nil, opts.config, opts.adapter)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("determining the address of the admin API: %w", err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	out := cmd.OutOrStdout()
	for first := true; ; first = false {
		raw, err := askStatus(address)
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		if err := printStatus(out, raw, opts, first); err != nil {
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

// wait returns false where ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// maxStatus bounds an answer, in bytes.
const maxStatus = 64 << 20

func askStatus(address string) ([]byte, error) {
	res, err := caddycmd.AdminAPIRequest(address, http.MethodGet, adminPath, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the admin API at %s, which has to be on and of a Caddy with this module: %w", address, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxStatus))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	return raw, nil
}

func printStatus(out io.Writer, raw []byte, opts statusOptions, first bool) error {
	if opts.asJSON {
		_, err := out.Write(raw)
		return err
	}
	var answer statusAnswer
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	if answer.Version != adminVersion {
		return fmt.Errorf("the running Caddy answers in version %d, this command knows %d; use the caddy that runs", answer.Version, adminVersion)
	}
	p := &statusPrinter{colour: inColour(out), challenges: opts.challenges, now: answer.Time}
	p.print(&answer)
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

// statusPrinter makes text of an answer.
type statusPrinter struct {
	b          strings.Builder
	colour     bool
	challenges int
	now        time.Time
}

// The colours of terminals (ECMA-48, SGR).
const (
	red, yellow, green, bold, dim = "31", "33", "32", "1", "2"
)

// paint gives a text, which is printable, a colour.
func (p *statusPrinter) paint(colour, s string) string {
	if !p.colour || s == "" || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// cell is a text in a column, perhaps in a colour.
type cell struct{ text, colour string }

func (p *statusPrinter) print(a *statusAnswer) {
	if len(a.Endpoints) == 0 {
		p.b.WriteString("No MCP endpoint is configured.\n")
		return
	}
	rows := [][]cell{{{"ENDPOINT", bold}, {"UPSTREAM", bold}, {"REQUESTS", bold}, {"4XX", bold}, {"5XX", bold}, {"CHALLENGES", bold}, {"REFUSED", bold}, {"SESSIONS", bold}, {"STREAMS", bold}, {"METADATA", bold}}}
	for _, e := range a.Endpoints {
		rows = append(rows, p.row(&e))
	}
	p.table(rows)
	for _, e := range a.Endpoints {
		p.details(&e)
	}
}

// table prints rows in columns.
func (p *statusPrinter) table(rows [][]cell) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		for i, c := range row {
			p.b.WriteString(p.paint(c.colour, c.text))
			if i < len(row)-1 {
				p.b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		p.b.WriteByte('\n')
	}
}

func (p *statusPrinter) row(e *endpointStatus) []cell {
	classes := make(map[string]uint64)
	for _, by := range e.Load.Status {
		for class, n := range by {
			classes[class] += n
		}
	}
	upstream := cell{doctor.Printable(e.Upstream), green}
	for _, u := range e.Upstreams {
		if u.Failing != nil || !u.Healthy {
			upstream = cell{upstream.text + " DOWN", red}
			break
		}
	}
	number := func(n uint64, colour string) cell {
		if n == 0 {
			colour = ""
		}
		return cell{strconv.FormatUint(n, 10), colour}
	}
	return []cell{
		{text: doctor.Printable(e.Endpoint)},
		upstream,
		number(e.Load.Requests, ""),
		number(classes["4xx"], yellow),
		number(classes["5xx"], red),
		number(e.Load.Challenges, ""),
		number(e.Load.Refused, yellow),
		number(uint64(max(e.Now.Sessions, 0)), ""),
		number(uint64(max(e.Now.Streams, 0)), ""),
		metadataCell(e.Metadata),
	}
}

// metadataCell says in a word what is known of the metadata.
func metadataCell(all []metadataStatus) cell {
	known, absent, failed := false, false, false
	for _, m := range all {
		known, absent, failed = known || m.Known, absent || m.Absent, failed || m.LastError != ""
	}
	switch {
	case failed && !known:
		return cell{"unavailable", red}
	case failed:
		return cell{"stale", yellow}
	case known:
		return cell{"known", green}
	case absent:
		return cell{"none", yellow}
	}
	return cell{"not asked", dim}
}

// details prints what of an endpoint wants attention.
func (p *statusPrinter) details(e *endpointStatus) {
	before := p.b.Len()
	for _, u := range e.Upstreams {
		if u.Failing != nil {
			p.line(red, "upstream %s gives no answer since %s: %s", u.Address, p.ago(*u.Failing), u.Why)
		} else if !u.Healthy {
			p.line(red, "upstream %s is unhealthy to Caddy's health checks", u.Address)
		}
	}
	for _, m := range e.Metadata {
		if m.LastError != "" && m.LastErrorAt != nil {
			p.line(yellow, "metadata of %s: %s, %s", m.URL, m.LastError, p.ago(*m.LastErrorAt))
		}
	}
	for _, o := range e.Refused {
		p.line(yellow, "%s", p.refusedText(&o))
	}
	for i, c := range e.Last {
		if i == p.challenges {
			break
		}
		why := ""
		if c.Reason != "" {
			why = ", " + reasonText(c.Reason)
		}
		p.line("", "%s %d, %d times, last %s: %s%s", c.Method, c.Status, c.Count, p.ago(c.Last), c.Action, why)
		p.lines("server sent", c.Sent)
		p.lines("client got ", c.Lines)
	}
	if p.b.Len() == before {
		return
	}
	text := p.b.String()
	p.b.Reset()
	p.b.WriteString(text[:before])
	p.b.WriteString("\n" + p.paint(bold, doctor.Printable(e.Endpoint)) + "\n" + text[before:])
}

// refusedText says what was refused, and which line would allow it.
func (p *statusPrinter) refusedText(o *refusedStatus) string {
	text := fmt.Sprintf("refused origin %s, %d times, last %s", o.Origin, o.Count, p.ago(o.Last))
	switch {
	case o.Origin == "":
		text = fmt.Sprintf("refused requests of browsers for a host that is not configured, on a loopback address, %d times, last %s", o.Count, p.ago(o.Last))
		if o.Add != "" {
			text += "; if clients use that host: " + o.Add
		}
	case o.Add != "":
		text += "; to allow it: cors { " + o.Add + " }"
	}
	return text
}

func (p *statusPrinter) line(colour, format string, args ...any) {
	p.b.WriteString("  " + p.paint(colour, doctor.Printable(fmt.Sprintf(format, args...))) + "\n")
}

func (p *statusPrinter) lines(what string, lines []string) {
	if len(lines) == 0 {
		lines = []string{"no challenge"}
	}
	for _, line := range lines {
		p.b.WriteString("    " + p.paint(dim, what) + "  " + doctor.Printable(line) + "\n")
	}
}

func (p *statusPrinter) ago(t time.Time) string { return humanize.RelTime(t, p.now, "ago", "from now") }

// reasonText says why no metadata URL was rewritten.
func reasonText(r bridge.Reason) string {
	switch r {
	case bridge.ReasonPolicy:
		return "as `challenge` says"
	case bridge.ReasonPublic:
		return "the metadata URL is the public one already"
	case bridge.ReasonForeign:
		return "the metadata URL is on another host; if that is the server's, list it in `challenge { origins }`"
	case bridge.ReasonUnparsable:
		return "it does not parse"
	case bridge.ReasonUnknown:
		return "no metadata of the server is known to point to; name its issuer in `metadata { authorization_servers }`"
	case bridge.ReasonScheme:
		return "there is no Bearer challenge that could carry the metadata URL"
	case bridge.ReasonStatus:
		return "nothing is added to this status"
	case bridge.ReasonHost:
		return "the request names no usable host; set `public_url`"
	}
	return string(r)
}
