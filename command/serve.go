package command

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/status"
)

// serveCommand returns `caddy mcp serve`.
func serveCommand() *cobra.Command {
	var opts Options
	cmd := &cobra.Command{
		Use:   "serve [--listen <address>] [--domain <name>] [--path <path>] (--to <url> | -- <program> [<argument>...])",
		Short: "Serves one MCP server, without a Caddyfile",
		Long: `
Runs Caddy in front of one MCP server, until it is interrupted: a stdio server
that it starts for each session, or a server that speaks HTTP, at --to. It prints
the Caddyfile that does the same.

The endpoint is http://` + DefaultListen + DefaultPath + `, which only this machine can
reach. With --domain, Caddy gets a certificate for that name and listens on port
443 of all addresses. A stdio server has no login, so it must listen on a
loopback address; for other machines write a Caddyfile with a login.

The admin API is off, as with other commands of Caddy that take no
configuration file.`,
		Example: `  caddy mcp serve -- npx -y @modelcontextprotocol/server-everything
  caddy mcp serve --listen localhost:9000 --path /tools -- uvx mcp-server-git
  caddy mcp serve --to http://localhost:3000/mcp
  caddy mcp serve --to sse+http://localhost:3000/sse
  caddy mcp serve --domain mcp.example.com --to localhost:3000`,
		SuggestFor: []string{"run", "proxy", "start"},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // flags behind the program are its own
	flags.StringVarP(&opts.Listen, "listen", "l", "", "host and port to listen on (default: "+DefaultListen+", or port 443 with --domain)")
	flags.StringVarP(&opts.Domain, "domain", "d", "", "host name that clients use, over HTTPS")
	flags.StringVarP(&opts.Path, "path", "p", DefaultPath, "path of the endpoint")
	flags.StringVarP(&opts.To, "to", "t", "", "URL of an MCP server that speaks HTTP; sse+http://... for HTTP+SSE")
	cmd.RunE = status.RunE(func(cmd *cobra.Command, args []string) (int, error) {
		opts.Program = args
		return caddy.ExitCodeFailedStartup, serve(cmd, &opts)
	})
	return cmd
}

// serve runs Caddy. It returns only if that fails: a signal ends the process.
func serve(cmd *cobra.Command, opts *Options) error {
	caddy.TrapSignals()
	text, at, err := opts.Caddyfile()
	if err != nil {
		return err
	}
	cfg, err := Adapt(text, opts)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if _, err := fmt.Fprintf(out, "# The same as a Caddyfile:\n%s\n", text); err != nil {
		return err
	}
	if err := caddy.Run(cfg); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "# Endpoint for MCP clients: %s%s (Ctrl-C ends it)\n", at.URL, opts.Path); err != nil {
		return err
	}
	select {}
}

// Adapt returns the configuration of a Caddyfile, without the admin API.
func Adapt(text string, opts *Options) (*caddy.Config, error) {
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, fmt.Errorf("%w, in\n%s", err, text)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	if len(opts.Program) > 0 && !runs(tree, opts.Program) {
		return nil, fmt.Errorf("an argument of %q is a placeholder in a Caddyfile, in braces; put the command into a script, and give that", opts.Program[0])
	}
	cfg := new(caddy.Config)
	if err := json.Unmarshal(raw, cfg); err != nil {
		return nil, err
	}
	persist := false
	cfg.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}}
	return cfg, nil
}

// runs reports whether a configuration has exactly this command. A Caddyfile replaces
// placeholders, and has no way to escape them.
func runs(tree any, command []string) bool {
	switch v := tree.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return runs(e, command) })
	case map[string]any:
		if list, ok := v["command"].([]any); ok && slices.EqualFunc(list, command, func(got any, want string) bool { return got == want }) {
			return true
		}
		for _, e := range v {
			if runs(e, command) {
				return true
			}
		}
	}
	return false
}
