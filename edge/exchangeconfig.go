package edge

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/exchange"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Exchange asks an authorization server for an access token for the MCP server
// in place of the client's (RFC 8693).
type Exchange struct {
	// The URL of the token endpoint. Default: the `token_endpoint` of the
	// server's metadata. Needed with more than one issuer.
	URL string `json:"url,omitempty"`

	// The MCP server, as the authorization server knows it: its name, or its
	// URL. At least one of the two is needed.
	Audience []string `json:"audience,omitempty"`
	Resource []string `json:"resource,omitempty"`

	// The scopes of the new token. Default: the server's choice.
	Scope []string `json:"scope,omitempty"`

	// The type of the new token: `access_token` or `jwt`. Default:
	// `access_token`.
	RequestedTokenType string `json:"requested_token_type,omitempty"`

	Client
}

// Client is what Caddy is at an authorization server.
type Client struct {
	// The client id and secret that the server is asked with. Placeholders such
	// as `{env.SECRET}` and `{file./run/secret}` are replaced.
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`

	// How they are sent: `client_secret_basic` or `client_secret_post`.
	// Default: `client_secret_basic`.
	AuthMethod string `json:"auth_method,omitempty"`
}

// The ways in which the client id and secret are sent (OpenID Connect Core 1.0, section 9).
const (
	clientBasic = "client_secret_basic"
	clientPost  = "client_secret_post"
)

// tokenTypes are the words for the types of tokens that can be asked for.
var tokenTypes = map[string]exchange.TokenType{"": exchange.AccessToken, "access_token": exchange.AccessToken, "jwt": exchange.JWT}

// check checks how the client id and secret are sent. option is the block that they are in.
func (c *Client) check(option string) error {
	switch c.AuthMethod {
	case "", clientBasic, clientPost:
		return nil
	}
	return fmt.Errorf("%s auth_method: %q must be %s or %s", option, c.AuthMethod, clientBasic, clientPost)
}

// credentials returns the client id and secret, with placeholders replaced. option is the block
// that they are in.
func (c *Client) credentials(option string) (fetch.Credentials, error) {
	repl := caddy.NewReplacer()
	secret, err := repl.ReplaceOrErr(c.ClientSecret, true, true)
	id, err2 := repl.ReplaceOrErr(c.ClientID, true, true)
	if err != nil || err2 != nil {
		return fetch.Credentials{}, fmt.Errorf("authorize %s: the placeholder of the client id or secret has no value: set the environment variable, or name a file that exists", option)
	}
	return fetch.Credentials{ID: id, Secret: strings.TrimSpace(secret), InBody: c.AuthMethod == clientPost}, nil
}

// checkExchange reports every mistake in `token exchange`.
func (c *Config) checkExchange() (errs []error) {
	add := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("authorize token exchange"+format, args...))
	}
	x := c.Exchange
	if x == nil {
		x = new(Exchange)
	}
	switch {
	case len(c.Issuers) == 0:
		add(": needs an issuer, whose tokens are exchanged; write `issuer https://login.example.com`, or remove it")
	case len(c.Issuers) > 1 && x.URL == "":
		add(": needs the URL of the token endpoint if there are several issuers, because the client id and secret are those of one server; write `token exchange https://login.example.com/token`")
	}
	if len(c.Keys) > 0 || c.CaddyUser {
		add(": excludes key and caddy_user, which have no token to exchange; remove them, or give them an endpoint of their own")
	}
	if len(x.Audience)+len(x.Resource) == 0 {
		add(": needs what the new token is for; write `audience files-api` or `resource https://files.internal/mcp` in its block")
	}
	if x.ClientID == "" || x.ClientSecret == "" {
		add(": needs credentials; write `client_id caddy` and `client_secret {env.CLIENT_SECRET}` in its block")
	}
	if u, err := origin.Parse(x.URL); x.URL != "" && (err != nil || u.Fragment) {
		add(": %q must be a URL that starts with https://, such as https://login.example.com/token", x.URL)
	}
	for _, resource := range x.Resource {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			add(" resource: %q must be a URL without a fragment, such as https://files.internal/mcp; for a name write `audience %[1]s`", resource)
		}
	}
	if _, ok := tokenTypes[x.RequestedTokenType]; !ok {
		add(" requested_token_type: %q must be access_token or jwt", x.RequestedTokenType)
	}
	if err := x.Client.check("authorize token exchange"); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// exchanger returns what exchanges tokens, or nil.
func (c *Config) exchanger(client *fetch.Client, report func(string, error)) (*exchange.Exchanger, error) {
	if c.Token != ExchangeToken {
		return nil, nil
	}
	x := c.Exchange
	credentials, err := x.Client.credentials("token exchange")
	if err != nil {
		return nil, err
	}
	return exchange.New(exchange.Config{
		Client: client, Issuers: c.IssuerURLs(), URL: x.URL, Credentials: credentials,
		Audience: x.Audience, Resource: x.Resource, Scope: x.Scope, Requested: tokenTypes[x.RequestedTokenType], Report: report,
	}), nil
}
