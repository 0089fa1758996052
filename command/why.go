package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/status"
)

// The exit codes of `caddy mcp why`.
const (
	exitAllowed = caddy.ExitCodeSuccess
	exitDenied  = 1
	exitUsage   = 2
)

// whyOptions are the flags of `caddy mcp why`.
type whyOptions struct {
	source
	claims, key, arguments string
	all                    bool
}

// whyCommand returns `caddy mcp why`.
func whyCommand() *cobra.Command {
	var opts whyOptions
	cmd := &cobra.Command{
		Use:   "why <method> [<name>]",
		Short: "Says whether authorize allows a request, and by which rule",
		Long: `
Decides by the rules of a configuration what the holder of a token may do:
whether it is allowed, which rule decides, and which scope would open it. No
Caddy has to run, and no authorization server is asked.

--claims is a file with the claims of the token as JSON; - is standard input.
Only the rules are decided, and whether the issuer is configured. The signature,
the audience and the time of a token are not checked.

--all prints a table of what the rules name. A * in it stands for the names that
no other rule is more specific for.

The exit code is 0 for allowed, 1 for refused, 2 for a wrong command.`,
		Example: `  caddy mcp why --config Caddyfile --endpoint /files/mcp --claims claims.json tools/call write_file
  caddy mcp why --config Caddyfile --endpoint /files/mcp --key backup --all`,
	}
	flags := cmd.Flags()
	flags.StringVarP(&opts.config, "config", "c", "Caddyfile", "configuration file")
	flags.StringVarP(&opts.adapter, "adapter", "a", "", "name of the config adapter (default: caddyfile, unless the file is JSON)")
	flags.StringVar(&opts.endpoint, "endpoint", "", "path of the endpoint, if several have authorize")
	flags.StringVar(&opts.host, "host", "", "host of the site, if several sites have the endpoint")
	flags.StringVar(&opts.claims, "claims", "", "file with the claims of the token")
	flags.StringVar(&opts.key, "key", "", "name of a static key, in place of --claims")
	flags.StringVar(&opts.arguments, "arguments", "", "arguments of the call, as JSON")
	flags.BoolVar(&opts.all, "all", false, "print a table of all that the rules name")
	run := func(cmd *cobra.Command, args []string) (int, error) {
		code, err := why(cmd, &opts, args)
		if err != nil {
			return exitUsage, err
		}
		return code, nil
	}
	cmd.RunE = status.RunE(run)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return status.RunE(func(*cobra.Command, []string) (int, error) {
			return exitUsage, fmt.Errorf("%w; `%s --help` lists the flags", err, cmd.CommandPath())
		})(cmd, nil)
	})
	return cmd
}

func why(cmd *cobra.Command, opts *whyOptions, args []string) (int, error) {
	switch {
	case opts.all && len(args) > 0:
		return 0, fmt.Errorf("--all takes no argument %q; it prints what all rules name", args[0])
	case !opts.all && (len(args) == 0 || len(args) > 2):
		return 0, fmt.Errorf("why needs a method and, for a call, a name, as in `%s --claims claims.json tools/call write_file`, or --all", cmd.CommandPath())
	}
	cfg, shared, err := opts.read()
	if err != nil {
		return 0, err
	}
	policy, err := cfg.Policy(shared)
	if err != nil {
		return 0, err
	}
	who, err := opts.principal(cmd.InOrStdin(), cfg)
	if err != nil {
		return 0, err
	}
	out := cmd.OutOrStdout()
	if who.Kind == principal.Token && who.Issuer != "" && !hasIssuer(cfg, who.Issuer) {
		_, err := fmt.Fprintf(out, "refused with 401, because %q is not an issuer of this endpoint\n", who.Issuer)
		return exitDenied, err
	}
	var arguments []byte
	if opts.arguments != "" {
		arguments = []byte(opts.arguments)
	}
	if opts.all {
		return exitAllowed, printAll(out, policy, who, cfg, arguments)
	}
	name := ""
	if len(args) == 2 {
		name = args[1]
	}
	r, err := request(args[0], name, arguments)
	if err != nil {
		return 0, err
	}
	d := policy.Decide(who, r)
	if _, err := fmt.Fprintln(out, d.Explain()); err != nil {
		return 0, err
	}
	if !d.Allowed {
		return exitDenied, nil
	}
	return exitAllowed, nil
}

// plainMethods are the methods of MCP without a slash. If somebody gives another word, it is
// the name of a tool. No rule names it as a method, so the answer would be "allowed", even if
// the tool is refused.
var plainMethods = []string{"initialize", "ping"}

// request is the request of a method with a name and arguments.
func request(method, name string, arguments []byte) (operation.Request, error) {
	r, err := operation.New(method, name, arguments)
	switch {
	case name == "" && !strings.Contains(method, "/") && !slices.Contains(plainMethods, method):
		return r, fmt.Errorf("%s is not a method of MCP; for a tool write `tools/call %[1]s`", method)
	case err != nil:
		return r, fmt.Errorf("%s %s is not a request that a client can send: %w", method, name, err)
	case name != "" && r.Operations[0].FirstName() != name:
		return r, fmt.Errorf("%s takes no name %q", method, name)
	case arguments != nil && r.Operations[0].Arguments == nil:
		return r, fmt.Errorf("%s takes no --arguments; tools/call and prompts/get do", method)
	}
	return r, nil
}

func hasIssuer(cfg *edge.Config, issuer string) bool {
	for _, i := range cfg.Issuers {
		if i.Issuer == issuer {
			return true
		}
	}
	return false
}

// maxClaims bounds a file of claims, in bytes.
const maxClaims = 1 << 20

// principal returns whom the flags name.
func (o *whyOptions) principal(stdin io.Reader, cfg *edge.Config) (*principal.Principal, error) {
	switch {
	case (o.claims == "") == (o.key == ""):
		return nil, errors.New("give the claims of a token with --claims claims.json, or the name of a static key with --key")
	case o.key != "":
		for _, k := range cfg.Keys {
			if k.Name == o.key {
				return &principal.Principal{Kind: principal.Key, KeyName: k.Name, Scopes: principal.NewScopes(k.Scope...)}, nil
			}
		}
		return nil, fmt.Errorf("--key %s: authorize has no key with this name", o.key)
	}
	if o.claims != "-" {
		file, err := os.Open(o.claims)
		if err != nil {
			return nil, fmt.Errorf("--claims: %w", err)
		}
		defer func() { _ = file.Close() }()
		stdin = file
	}
	doc, err := io.ReadAll(io.LimitReader(stdin, maxClaims+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--claims %s: %w", o.claims, err)
	case len(doc) > maxClaims:
		return nil, fmt.Errorf("--claims %s: is longer than %d bytes", o.claims, maxClaims)
	}
	claims, err := token.ParseClaims(doc)
	if err != nil {
		return nil, fmt.Errorf("--claims %s: %w", o.claims, err)
	}
	who, refusal := claims.Principal(principal.Token)
	if refusal != nil {
		return nil, fmt.Errorf("--claims %s: no endpoint accepts such a token: %w", o.claims, refusal)
	}
	return who, nil
}

// other is a name that no rule has, unless a pattern matches every name.
const other = "(any other)"

// printAll prints a decision for each pattern of the rules, and for what no rule names.
func printAll(out io.Writer, policy *rules.Policy, who *principal.Principal, cfg *edge.Config, arguments []byte) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	seen := make(map[string]bool)
	row := func(method string, target operation.Target, name string) {
		if seen[method+" "+name] {
			return
		}
		seen[method+" "+name] = true
		of := method
		if name != "" {
			of += " " + name
		}
		var args []byte
		if target == operation.Tool || target == operation.Prompt {
			args = arguments
		}
		r, err := request(method, name, args)
		if err != nil {
			_, _ = fmt.Fprintf(w, "%s\tunknown\t%v\n", of, err)
			return
		}
		d := policy.Decide(who, r)
		verdict, text := "allowed", "by "+d.Rule
		switch {
		case d.Allowed:
		case d.Fixable():
			verdict, text = "refused", fmt.Sprintf("scope %q would open it (%s)", d.Challenge.String(), d.Rule)
		case arguments == nil && target == operation.Tool && onArguments(policy, who, d, name):
			verdict, text = "depends", fmt.Sprintf("on the arguments: give --arguments (%s)", d.Rule)
		default:
			verdict, text = "refused", fmt.Sprintf("%s (%s)", d.Reason, d.Rule)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", of, verdict, text)
	}
	row("initialize", "", "")
	for _, rule := range cfg.Rules {
		for _, method := range rule.Methods {
			row(method, "", "")
		}
		for _, named := range []struct {
			method string
			target operation.Target
			names  []string
		}{
			{"tools/call", operation.Tool, rule.Tools},
			{"prompts/get", operation.Prompt, rule.Prompts},
			{"resources/read", operation.Resource, rule.Resources},
		} {
			for _, name := range named.names {
				row(named.method, named.target, name)
			}
		}
	}
	row("tools/call", operation.Tool, other)
	row("prompts/get", operation.Prompt, other)
	row("resources/read", operation.Resource, other)
	return w.Flush()
}

// onArguments reports whether a refusal comes from an expression over arguments that were not
// given: lists, which have none, then show the tool.
func onArguments(policy *rules.Policy, who *principal.Principal, d rules.Decision, name string) bool {
	if d.Reason != rules.ExpressionError && d.Reason != rules.ExpressionFalse {
		return false
	}
	shows, _ := policy.Viewer(who).Shows(operation.Name{Target: operation.Tool, Text: name})
	return shows
}
