package mcptest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Answers is an upstream that answers as the query of a request says. It knows only its
// private address.
type Answers struct {
	*httptest.Server
	Metadata string // its PRM document; empty: 404
}

// NewAnswers starts such an upstream.
func NewAnswers(t *testing.T) *Answers {
	t.Helper()
	a := &Answers{}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.Serve))
	a.Start()
	t.Cleanup(a.Close)
	a.Metadata = fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["https://login.example.com"]}`, a.URL)
	return a
}

// Challenges are the shapes of a 401 or 403; %s is the upstream's origin.
var Challenges = map[string][]string{
	"401":         {`Bearer resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`},
	"401-expired": {`Bearer error="invalid_token", error_description="The token expired", resource_metadata="%s/.well-known/oauth-protected-resource/mcp", scope="a b"`},
	"401-several": {`Basic realm="x", Bearer resource_metadata="%s/.well-known/oauth-protected-resource/mcp" , DPoP algs="ES256"`, `Negotiate dG9rZW4=`},
	"401-odd":     {"bearer\tRESOURCE_METADATA = \"%s/custom/metadata\",error_description=\"The \"aud\" is wrong\""},
	"401-foreign": {`Bearer resource_metadata="https://other.example.org/.well-known/oauth-protected-resource/mcp"`},
	"403":         {`Bearer error="insufficient_scope", scope="files:write", resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`},
	"401-bare":    {},
	"403-bare":    {},
}

// Serve implements [http.HandlerFunc].
func (a *Answers) Serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/.well-known/oauth-protected-resource") {
		if a.Metadata == "" || r.URL.Path != "/.well-known/oauth-protected-resource/mcp" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, a.Metadata)
		return
	}
	h := w.Header()
	h.Set("X-Upstream", "yes")
	h.Set("Access-Control-Allow-Origin", "http://wrong.example")
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Accept")
	answer := r.URL.Query().Get("answer")
	if lines, ok := Challenges[answer]; ok {
		for _, line := range lines {
			h.Add("WWW-Authenticate", strings.ReplaceAll(line, "%s", a.URL))
		}
		h.Set("DPoP-Nonce", "n1")
		answer = answer[:3]
	}
	a.answer(w, r, answer)
}

func (a *Answers) answer(w http.ResponseWriter, r *http.Request, answer string) {
	h := w.Header()
	switch answer {
	case "200", "": // the latter is the bridge's own ping
		h.Set("Content-Type", "application/json")
		h.Set("Mcp-Session-Id", "s1")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	case "sse":
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		_, _ = io.WriteString(w, "event: endpoint\ndata: /not-mapped\n\nid: 1\ndata: {}\n\n")
		_ = http.NewResponseController(w).Flush()
	case "202":
		w.WriteHeader(http.StatusAccepted)
	case "307":
		h.Set("Location", "https://elsewhere.example/mcp?x=1")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "reset":
		h.Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "stall":
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client leave
		<-r.Context().Done()
	default:
		var status int
		_, _ = fmt.Sscan(answer, &status)
		h.Set("Content-Type", "application/problem+json")
		h.Set("Retry-After", "7")
		h.Set("Allow", "POST")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"status":%d}`, status)
	}
}
