package integration_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// token gets an access token for the client that is a script. key may be nil; otherwise the
// token is bound to it by a DPoP proof (RFC 9449, section 5).
func (i *issuer) token(t *testing.T, f front, key *issuertest.Key) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"mcp:read"}, "resource": {f.public}}
	r := mcptest.NewRequest(t, http.MethodPost, i.URL+"/token", form.Encode())
	r.Header.Set("Content-Type", formType)
	r.SetBasicAuth("script", "script-secret")
	if key != nil {
		r.Header.Set("DPoP", key.Proof(t, http.MethodPost, i.URL+"/token", "", map[string]any{"ath": nil}))
	}
	got := mcptest.Do(t, mcptest.HTTPClient(t), r)
	var grant struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.Body), &grant); err != nil || grant.Token == "" {
		t.Fatalf("the issuer answered %d %s", got.Status, got.Body)
	}
	return grant.Token
}

// ask sends a request with a token to an endpoint.
func ask(t *testing.T, f front, token string) mcptest.Answer {
	t.Helper()
	return mcptest.Do(t, mcptest.HTTPClient(t), mcptest.NewRequest(t, http.MethodPost, f.public, mcptest.Initialize, "Authorization", "Bearer "+token))
}

// await asks until the answer has a status. Keys are fetched at most once in 10 seconds.
func await(t *testing.T, f front, token string, status int) mcptest.Answer {
	t.Helper()
	var got mcptest.Answer
	mcptest.Poll(t, patience, func() string {
		if got = ask(t, f, token); got.Status != status {
			return strconv.Itoa(got.Status) + " " + got.Body + "; want " + strconv.Itoa(status)
		}
		return ""
	})
	return got
}

func wantStatus(t *testing.T, what string, got mcptest.Answer, status int) {
	t.Helper()
	if got.Status != status {
		t.Errorf("%s: got %d %s; want %d", what, got.Status, got.Body, status)
	}
}

// Rules E1, E2: what oidc-provider does with its keys over the years: it is away when Caddy
// starts, it signs with a new key, it withdraws one, and it is away again. A client is never
// told to log in for want of the issuer, and known keys go on.
func TestEdgeFollowsTheKeysOfOIDCProvider(t *testing.T) {
	integration.NeedNode(t)
	f := plainFront(t)
	i := startIssuer(t, "issuer-oidc.mjs", f.public)
	old, oldToo := i.token(t, f, nil), i.token(t, f, nil)
	i.do(t, "down")
	runEdge(t, f, i, upstreamsOfEdge(t)["HTTP"], "", "")
	away := func(what string, got mcptest.Answer) {
		t.Helper()
		if seconds, err := strconv.Atoi(got.Header.Get("Retry-After")); got.Status != 503 || err != nil || seconds < 1 || seconds > 10 || got.Header.Get("Www-Authenticate") != "" {
			t.Errorf("%s: got %d %v %s; want 503 with Retry-After", what, got.Status, got.Header, got.Body)
		}
	}
	away("never seen", ask(t, f, old))
	i.do(t, "up")
	await(t, f, old, 200)

	i.do(t, "rotate")
	second := i.token(t, f, nil)
	await(t, f, second, 200) // an unknown key id has the keys fetched
	wantStatus(t, "a key that is still published", ask(t, f, old), 200)

	i.do(t, "rotate")
	i.do(t, "withdraw")
	third, thirdToo := i.token(t, f, nil), i.token(t, f, nil)
	await(t, f, third, 200)
	for what, token := range map[string]string{"verified before": old, "not seen before": oldToo, "another": second} {
		got := ask(t, f, token)
		if got.Status != 401 || !strings.Contains(got.Header.Get("Www-Authenticate"), `error="invalid_token"`) {
			t.Errorf("withdrawn key, %s: got %d %v", what, got.Status, got.Header)
		}
	}

	i.do(t, "rotate")
	fourth := i.token(t, f, nil)
	i.do(t, "down")
	away("a new key while the issuer is away", await(t, f, fourth, 503))
	wantStatus(t, "a known key while the issuer is away", ask(t, f, thirdToo), 200)
}

// Rules E1, E2: access tokens of oidc-provider that are no JWTs are asked about; the clients
// notice no difference.
func TestEdgeWithOpaqueTokensOfOIDCProvider(t *testing.T) {
	integration.NeedNode(t)
	up := upstreamsOfEdge(t)["HTTP"]
	f := plainFront(t)
	i := startIssuer(t, "issuer-oidc.mjs", f.public, "--opaque")
	runEdge(t, f, i, up, "introspect {\n\t\t\t\t\tclient_id edge\n\t\t\t\t\tclient_secret edge-secret\n\t\t\t\t}", "")
	drive(t, f, sdkV2, streamable).checkEdge(t, f, i, up.user, "sdk")
	checkGoClient(t, f, up.user)
	script := i.token(t, f, nil)
	if strings.Contains(script, ".") {
		t.Fatalf("%q is not opaque", script)
	}
	wantStatus(t, "a script", ask(t, f, script), 200)
	wantStatus(t, "a token that there is not", ask(t, f, script[1:]+"x"), 401)
	i.do(t, "down")
	wantStatus(t, "a known token while the issuer is away", ask(t, f, script), 200)
	wantStatus(t, "another while the issuer is away", ask(t, f, script[1:]+"y"), 503)
}

// Rule E1: a token that oidc-provider has bound to a key is worth nothing without a proof of
// it, as Bearer, with another key, and a second time with the same proof.
func TestEdgeWithBoundTokensOfOIDCProvider(t *testing.T) {
	integration.NeedNode(t)
	f := plainFront(t)
	i := startIssuer(t, "issuer-oidc.mjs", f.public, "--dpop")
	runEdge(t, f, i, upstreamsOfEdge(t)["HTTP"], "", "dpop optional")
	mine, another := issuertest.NewKey(t, jose.ES256, ""), issuertest.NewKey(t, jose.ES256, "")
	token := i.token(t, f, &mine)
	send := func(proof string) mcptest.Answer {
		return mcptest.Do(t, mcptest.HTTPClient(t), mcptest.NewRequest(t, http.MethodPost, f.public, mcptest.Initialize, "Authorization", "DPoP "+token, "DPoP", proof))
	}
	proof := mine.Proof(t, http.MethodPost, f.public, token, nil)
	wantStatus(t, "with a proof", send(proof), 200)
	wantStatus(t, "with the same proof", send(proof), 401)
	wantStatus(t, "with the proof of another key", send(another.Proof(t, http.MethodPost, f.public, token, nil)), 401)
	wantStatus(t, "with a proof for the issuer", send(mine.Proof(t, http.MethodPost, i.URL+"/token", token, nil)), 401)
	wantStatus(t, "as Bearer", ask(t, f, token), 401)
	wantStatus(t, "a token that is not bound", ask(t, f, i.token(t, f, nil)), 200)
}
