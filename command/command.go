// Package command has the commands below `caddy mcp`: those of package status, and `serve`,
// which runs Caddy in front of one MCP server without a Caddyfile.
package command

import (
	"fmt"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/status"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "mcp",
		Usage: "<command>",
		Short: "Serves, checks and shows MCP servers",
		Long: `
Commands for MCP servers. serve puts one on the web, as reverse-proxy does for
a website. doctor finds out why a login fails, and tools lists the tools of a
server: both work with any MCP server. status, sessions and end ask a running
Caddy. why says which requests the rules of authorize allow.`,
		CobraFunc: assemble,
	})
}

// assemble makes cmd the parent of all commands.
func assemble(cmd *cobra.Command) {
	cmd.Example = `  caddy mcp serve -- npx -y @modelcontextprotocol/server-everything
  caddy mcp serve --to http://localhost:3000/mcp
  caddy mcp doctor https://mcp.example.com/mcp
  caddy mcp status`
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; `%s --help` lists the flags", err, cmd.CommandPath())
	})
	cmd.AddCommand(append(status.Commands(), serveCommand(), whyCommand())...)
}

// unknownCommand says which commands there are.
func unknownCommand(cmd *cobra.Command, name string) error {
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return fmt.Errorf("%s has no command %q; did you mean `%s %s`?", cmd.CommandPath(), name, cmd.CommandPath(), near[0])
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("%s has no command %q; there are %s", cmd.CommandPath(), name, strings.Join(names, ", "))
}
