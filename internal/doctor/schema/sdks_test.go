package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
)

// variants are values that are tried for each member. The empty one leaves the member out.
var variants = []string{"", "null", `""`, `"text"`, `"/relative"`, "1", "1.5", `"1"`, "true", "[]", "[null]", "[1]", `["text"]`, "{}"}

// example returns a valid value of a member. origin is the origin of its URLs.
func (m member) example(origin string) string {
	switch m.form {
	case text:
		return `"Bearer"`
	case link:
		return `"` + origin + `"`
	case texts:
		return `["S256"]`
	case links:
		return `["` + origin + `"]`
	case integer:
		return "60"
	case truth:
		return "true"
	}
	panic("no form " + m.form)
}

// documents calls each with a valid document, and with one for each variant of each member
// and its fault.
func (s Schema) documents(origin string, each func(name, document string, f Fault)) {
	right := func(but, value string) string {
		var b strings.Builder
		b.WriteByte('{')
		for _, m := range s.members {
			written := m.example(origin)
			if m.name == but {
				written = value
			}
			if written == "" || m.name != but && !m.required && m.name != "code_challenge_methods_supported" {
				continue
			}
			if b.Len() > 1 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%q:%s", m.name, written)
		}
		b.WriteByte('}')
		return b.String()
	}
	each("right", right("", ""), Fault{})
	for _, m := range s.members {
		for _, value := range variants {
			f, _ := m.judge(json.RawMessage(value), s.full)
			each(m.name+" "+value, right(m.name, value), f)
		}
	}
}

// The Go SDK refuses exactly the documents that the schemas expect.
func TestGoSDK(t *testing.T) {
	var body atomic.Value
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost && r.URL.Path == "/register" {
			w.WriteHeader(http.StatusCreated)
		} else {
			w.WriteHeader(status)
		}
		_, _ = io.WriteString(w, body.Load().(string))
	}))
	t.Cleanup(server.Close)
	// With a dialer of its own the SDK does not refuse loopback.
	client := &http.Client{Transport: &http.Transport{DialContext: new(net.Dialer).DialContext}}
	t.Cleanup(client.CloseIdleConnections)
	for _, tc := range []struct {
		name   string
		schema Schema
		read   func(context.Context) error
	}{
		{"resource", Resource, func(ctx context.Context) error {
			d, err := oauthex.GetProtectedResourceMetadata(ctx, server.URL+"/x", server.URL, client)
			if err == nil && len(d.AuthorizationServers) == 0 { // auth.AuthorizationCodeHandler
				return fmt.Errorf("no authorization server")
			}
			return err
		}},
		{"oauth", AuthorizationServer, func(ctx context.Context) error { return readServer(ctx, server.URL, client) }},
		{"openid", OpenID, func(ctx context.Context) error { return readServer(ctx, server.URL, client) }},
		{"registration", Registration, func(ctx context.Context) error {
			_, err := oauthex.RegisterClient(ctx, server.URL+"/register", &oauthex.ClientRegistrationMetadata{}, client)
			return err
		}},
		{"token", Token, func(ctx context.Context) error {
			// It reads the answer as the login does, and then looks for one member more.
			_, err := oauthex.ExchangeToken(ctx, server.URL, &oauthex.TokenExchangeRequest{
				RequestedTokenType: "x", Audience: server.URL, Resource: server.URL, SubjectToken: "x", SubjectTokenType: "x",
			}, &oauthex.ClientCredentials{ClientID: "x"}, client)
			if err != nil && strings.Contains(err.Error(), "issued_token_type") {
				return nil
			}
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := 0
			tc.schema.documents(server.URL, func(name, document string, f Fault) {
				n++
				body.Store(document)
				err := tc.read(t.Context())
				if says := f.Stops&Go != 0; says != (err != nil) {
					t.Errorf("%s: the table says %v (%s), the SDK %v", name, says, f, err)
				}
			})
			if want := 1 + len(variants)*len(tc.schema.members); n != want {
				t.Errorf("%d documents were tried, want %d", n, want)
			}
		})
	}
}

// readServer reads authorization server metadata as the Go SDK's client does,
// which needs both endpoints.
func readServer(ctx context.Context, issuer string, client *http.Client) error {
	d, err := oauthex.GetAuthServerMeta(ctx, issuer+"/x", issuer, client)
	if err == nil && (d.AuthorizationEndpoint == "" || d.TokenEndpoint == "") {
		return fmt.Errorf("an endpoint is missing")
	}
	if err != nil && strings.Contains(err.Error(), "does not implement PKCE") {
		return nil // which judgePKCE judges
	}
	return err
}

// At least one version of the TypeScript SDK refuses each document that the schemas expect,
// and no version refuses another.
func TestTypeScriptSDKs(t *testing.T) {
	folder := integration.NeedNode(t)
	type one struct {
		Schema   string `json:"schema"`
		Document string `json:"document"`
		name     string
		fault    Fault
	}
	var all []one
	for name, s := range map[string]Schema{"resource": Resource, "oauth": AuthorizationServer, "openid": OpenID, "registration": Registration, "token": Token} {
		s.documents("https://login.example.com", func(member, document string, f Fault) {
			all = append(all, one{name, document, member, f})
		})
	}
	documents, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", "schemas.mjs")
	node.Dir, node.Stdin, node.Stderr = folder, bytes.NewReader(documents), t.Output()
	out, err := node.Output()
	var refused []bool
	if err != nil || json.Unmarshal(out, &refused) != nil || len(refused) != len(all) {
		t.Fatalf("%v: %d answers to %d documents", err, len(refused), len(all))
	}
	for i, one := range all {
		if says := one.fault.Stops&TypeScript != 0; says != refused[i] {
			t.Errorf("%s, %s: the table says %v (%s), the SDKs %v", one.Schema, one.name, says, one.fault, refused[i])
		}
	}
}
