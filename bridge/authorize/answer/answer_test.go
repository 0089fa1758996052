package answer

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
)

const metadata = "https://mcp.example.com/.well-known/oauth-protected-resource/files"

var (
	plain = Challenger{Metadata: metadata, Scopes: principal.Scopes{"files"}}
	both  = Challenger{Metadata: metadata, Scopes: principal.Scopes{"files"}, Algorithms: []string{"ES256", "EdDSA"}}
)

// Rule E2: each refusal of credentials has one status, one challenge for each scheme, and a
// JSON-RPC error without an id.
func TestCredentials(t *testing.T) {
	for _, tc := range []struct {
		name       string
		c          Challenger
		r          principal.Refusal
		scheme     Scheme
		status     int
		challenges []string
		body       string
	}{
		{
			"no credentials", plain,
			principal.Refusal{Code: principal.Missing, Reason: principal.NoCredentials},
			"", 401,
			[]string{`Bearer scope="files", resource_metadata="` + metadata + `"`},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the request has no credentials"}}`,
		},
		{
			"no credentials, with DPoP", both,
			principal.Refusal{Code: principal.Missing, Reason: principal.NoCredentials},
			"", 401,
			[]string{
				`Bearer scope="files", resource_metadata="` + metadata + `"`,
				`DPoP scope="files", resource_metadata="` + metadata + `", algs="ES256 EdDSA"`,
			},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the request has no credentials"}}`,
		},
		{
			"nothing to say",
			Challenger{},
			principal.Refusal{Code: principal.Missing, Reason: principal.NoCredentials},
			"", 401,
			[]string{`Bearer`},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the request has no credentials"}}`,
		},
		{
			"bad token", plain, *principal.Invalid(principal.Expired), Bearer, 401,
			[]string{`Bearer error="invalid_token", error_description="the token has expired", scope="files", resource_metadata="` + metadata + `"`},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the token has expired"}}`,
		},
		{
			"bad token with a proof", both, *principal.Invalid(principal.Expired), DPoP, 401,
			[]string{
				`Bearer scope="files", resource_metadata="` + metadata + `"`,
				`DPoP error="invalid_token", error_description="the token has expired", scope="files", resource_metadata="` + metadata + `", algs="ES256 EdDSA"`,
			},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the token has expired"}}`,
		},
		{
			"DPoP where it is off", plain, *principal.Invalid(principal.WrongScheme), DPoP, 401,
			[]string{`Bearer error="invalid_token", error_description="the token needs another authentication scheme", scope="files", resource_metadata="` + metadata + `"`},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the token needs another authentication scheme"}}`,
		},
		{
			"bad proof", both,
			principal.Refusal{Code: principal.InvalidProof, Reason: principal.ProofURL},
			Bearer, 401,
			[]string{
				`Bearer scope="files", resource_metadata="` + metadata + `"`,
				`DPoP error="invalid_dpop_proof", error_description="the DPoP proof is for another URL", scope="files", resource_metadata="` + metadata + `", algs="ES256 EdDSA"`,
			},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the DPoP proof is for another URL"}}`,
		},
		{
			"nonce", both,
			principal.Refusal{Code: principal.UseNonce, Reason: principal.ProofNonce},
			DPoP, 401,
			[]string{
				`Bearer scope="files", resource_metadata="` + metadata + `"`,
				`DPoP error="use_dpop_nonce", error_description="the DPoP proof needs a fresh nonce", scope="files", resource_metadata="` + metadata + `", algs="ES256 EdDSA"`,
			},
			`{"jsonrpc":"2.0","error":{"code":-32000,"message":"the DPoP proof needs a fresh nonce"}}`,
		},
		{
			"two credentials", plain,
			principal.Refusal{Code: principal.InvalidRequest, Reason: principal.TwoCredentials},
			Bearer, 400,
			[]string{`Bearer error="invalid_request", error_description="the request has more than one credential", scope="files", resource_metadata="` + metadata + `"`},
			`{"jsonrpc":"2.0","error":{"code":-32600,"message":"the request has more than one credential"}}`,
		},
		{
			"unavailable", plain,
			principal.Refusal{Code: principal.Unavailable, Reason: principal.IssuerUnreachable, RetryAfter: 1500 * time.Millisecond},
			Bearer, 503,
			nil, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"the authorization server could not be asked"}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.c.Credentials(&tc.r, tc.scheme)
			if a.Status != tc.status || !slices.Equal(a.Challenges, tc.challenges) || string(a.Body) != tc.body {
				t.Errorf("got  %d %q %s\nwant %d %q %s", a.Status, a.Challenges, a.Body, tc.status, tc.challenges, tc.body)
			}
			for _, line := range a.Challenges {
				if l := challenge.Parse(line); l.Err() != nil || len(l.Challenges()) != 1 || strings.Contains(line, `scope=""`) {
					t.Errorf("%q has %d challenges, %v", line, len(l.Challenges()), l.Err())
				}
			}
			w := httptest.NewRecorder()
			a.Write(w)
			if got := w.Header()["Www-Authenticate"]; w.Code != tc.status || !slices.Equal(got, tc.challenges) || w.Body.String() != tc.body {
				t.Errorf("written: %d %q %s", w.Code, got, w.Body)
			}
			if got, want := w.Header().Get("Retry-After"), map[int]string{503: "2"}[tc.status]; got != want {
				t.Errorf("Retry-After: got %q, want %q", got, want)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("header: %v", w.Header())
			}
		})
	}
}

// Rule E2: too little scope is a challenge with all scopes, and what no scope opens has none;
// the error has the id of the request, and for a batch none.
func TestDenial(t *testing.T) {
	p, err := rules.New(rules.Config{Scopes: []string{"files"}, Rules: []rules.Rule{
		{Tools: []string{"write"}, Scopes: []string{"write"}}, {Tools: []string{"delete"}, Deny: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	call := func(name, id string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + name + `"}}`
	}
	const challenged = `Bearer error="insufficient_scope", error_description="the scope of the token is too small", scope="files write", resource_metadata="` + metadata + `"`
	for _, tc := range []struct {
		name, body string
		challenges []string
		want       string
	}{
		{"scope", call("write", `"x"`), []string{challenged}, `{"jsonrpc":"2.0","id":"x","error":{"code":-32000,"message":"Forbidden: the scope of the token is too small"}}`},
		{"denied", call("delete", `7`), nil, `{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"Forbidden: this is not allowed"}}`},
		{"batch", `[` + call("write", "1") + `]`, []string{challenged}, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Forbidden: the scope of the token is too small"}}`},
		{"batch with both", `[` + call("write", "1") + `,` + call("delete", "2") + `]`, nil, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Forbidden: this is not allowed"}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := operation.Parse([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			a := plain.Denial(p.Decide(&principal.Principal{Scopes: principal.Scopes{"files"}}, r), r, Bearer)
			if a.Status != http.StatusForbidden || !slices.Equal(a.Challenges, tc.challenges) || string(a.Body) != tc.want {
				t.Errorf("got  %d %q %s\nwant 403 %q %s", a.Status, a.Challenges, a.Body, tc.challenges, tc.want)
			}
			w := httptest.NewRecorder()
			w.Header().Set("WWW-Authenticate", "Basic")
			a.Write(w)
			if got := w.Header()["Www-Authenticate"]; !slices.Equal(got, tc.challenges) {
				t.Errorf("written: %q", got)
			}
		})
	}
}

// Rules E2, E5: a body that is refused is 400 with the id if there is one, and a list that
// cannot be parsed is 502.
func TestInvalid(t *testing.T) {
	for body, want := range map[string]string{
		`{`: `{"jsonrpc":"2.0","error":{"code":-32700,"message":"the body is not JSON"}}`,
		`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"Name":"a"}}`: `{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"the body has a member of params that equals \"name\" but for case"}}`,
	} {
		_, err := operation.Parse([]byte(body))
		invalid, ok := err.(*operation.Invalid)
		if !ok {
			t.Fatal(err)
		}
		if a := Invalid(invalid); a.Status != 400 || string(a.Body) != want || a.Challenges != nil {
			t.Errorf("%s: got %d %s, want %s", body, a.Status, a.Body, want)
		}
	}
}
