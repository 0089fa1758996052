package edge

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/credential"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/exchange"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// issuedVar is the variable of a request that says which token was issued for it. The requests
// of the bridge on behalf of a client have the variables of the client's request.
const issuedVar = "mcp_auth_bridge.issued"

// exchange returns the token for the MCP server. It is empty if the client's token is not
// exchanged.
func (e *Edge) exchange(r *http.Request, res credential.Result, a *Admission) (string, *principal.Refusal) {
	if e.exchanger == nil {
		return "", nil
	}
	token, issued, refusal := e.exchanger.Token(r.Context(), a.Principal, res.Token)
	if refusal != nil {
		return "", refusal
	}
	caddyhttp.SetVar(r.Context(), issuedVar, issued)
	return token, nil
}

// TokenRefused is called when the MCP server has answered a request with 401.
func (e *Edge) TokenRefused(r *http.Request) {
	if e == nil || e.exchanger == nil {
		return
	}
	if issued, ok := caddyhttp.GetVar(r.Context(), issuedVar).(exchange.Issued); ok {
		e.exchanger.Refused(issued)
	}
}

// adviceForExchange is what helps, by why a token is not exchanged.
var adviceForExchange = map[principal.Reason]string{
	principal.NotExchanged:      "the client has to log in again; if that does not help, the authorization server wants another request: see its log",
	principal.ExchangeDenied:    "see what the authorization server allows this user and the client of `token exchange`, and whether it knows the audience, the resource and the scope there",
	principal.ExchangeFailed:    "see whether the client of `token exchange` may exchange tokens at the authorization server, and whether the URL there is its token endpoint",
	principal.IssuerUnreachable: "see whether this machine reaches the token endpoint of the issuer",
	principal.TooBusy:           "see how long the authorization server takes to answer",
}

// notExchanged reports a request whose token is accepted, but not exchanged.
func (e *Edge) notExchanged(r *http.Request, status int, refusal *principal.Refusal, a *Admission) {
	d := e.denial(a, CheckExchange, status, string(refusal.Reason))
	d.Code, d.Cause, d.Held = refusal.Code, refusal.Cause, a.Principal.Scopes
	if r.Context().Err() == nil { // otherwise nobody gets the answer
		e.deny(d)
	}
	level := zapcore.WarnLevel
	if refusal.Code == principal.InvalidToken {
		level = zapcore.InfoLevel
	}
	if c := e.logger.Check(level, "token of the client is not exchanged"); c != nil {
		c.Write(zap.String("reason", d.Reason), zap.Int("status", status), zap.NamedError("cause", refusal.Cause),
			zap.String("advice", adviceForExchange[refusal.Reason]), zap.String("user", d.Subject), zap.String("client", d.Client),
			zap.String("method", d.Method), zap.String("name", d.Name), requestID(r))
	}
}
