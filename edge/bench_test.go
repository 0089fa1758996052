package edge_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
)

// BenchmarkAdmit admits a call whose token is known, and in the second case was exchanged.
func BenchmarkAdmit(b *testing.B) {
	const at = "https://mcp.example.com/mcp"
	issuer := issuertest.Start(b, issuertest.NewKey(b, jose.ES256, "one"))
	exchanged := &edge.Exchange{Audience: []string{"files"}, Client: edge.Client{ClientID: "edge", ClientSecret: "edge-secret"}}
	for _, bc := range []struct {
		name string
		cfg  edge.Config
	}{{"token", edge.Config{}}, {"exchanged", edge.Config{Token: edge.ExchangeToken, Exchange: exchanged}}} {
		b.Run(bc.name, func(b *testing.B) {
			bc.cfg.Issuers = []edge.Issuer{{Issuer: issuer.URL}}
			e, err := edge.New(&bc.cfg, edge.Options{Logger: zap.NewNop(), Shared: true})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/srv/a"}}}`
			token := issuer.Token(at, nil)
			admit := func() {
				r := httptest.NewRequest(http.MethodPost, at, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+token)
				_, _, admission := e.Admit(httptest.NewRecorder(), r, edge.Facts{PublicURL: at, Endpoint: at, MaxBody: 1 << 20})
				if admission == nil || (r.Header.Get("Authorization") != "") != (bc.cfg.Exchange != nil) {
					b.Fatalf("it is refused, or has the token %q", r.Header.Get("Authorization"))
				}
				if err := admission.End(); err != nil {
					b.Fatal(err)
				}
			}
			admit()
			b.ReportAllocs()
			for b.Loop() {
				admit()
			}
		})
	}
}
