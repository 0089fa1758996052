package observe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// tattler is an MCP server and authorization server that has secrets in all that it says.
type tattler struct {
	*httptest.Server
	foreign string // an origin that is not its own

	mu      sync.Mutex
	streams map[string]chan string // of HTTP+SSE, by their message paths
}

func newTattler(t *testing.T) *tattler {
	t.Helper()
	l := &tattler{foreign: "https://user:" + secret("userinfo") + "@elsewhere.example", streams: make(map[string]chan string)}
	l.Server = httptest.NewUnstartedServer(l)
	l.Start()
	t.Cleanup(func() {
		l.CloseClientConnections()
		l.Close()
	})
	return l
}

// leaks are the shapes of challenges; %s is the server's origin.
var leaks = map[string][]string{
	"token68":   {"Negotiate " + secret("token68") + "=="},
	"described": {`Bearer error="invalid_token", error_description="token ` + secret("authorization") + ` or ` + secret("exchanged") + ` or ` + secret("describedtoken123") + ` expired", resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`},
	"nonce":     {`DPoP nonce="` + secret("nonce") + `", resource_metadata="%s/.well-known/oauth-protected-resource/mcp?t=` + secret("metadataquery") + `"`},
	"userinfo":  {`Bearer resource_metadata="http://user:` + secret("userinfo") + `@127.0.0.1/x?token=` + secret("metadataquery") + `"`},
	"unparsed":  {`Bearer error="` + secret("unterminatedtoken1")},
	"foreign":   {`Bearer resource_metadata="https://elsewhere.example/` + "x?token=" + secret("metadataquery") + `"`},
	"scope":     {`Bearer error="insufficient_scope", scope="a b", error_uri="https://help.example/?t=` + secret("erroruri") + `"`},
}

func (l *tattler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch r.URL.Path {
	case "/.well-known/oauth-protected-resource/mcp":
		h.Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":"%s/mcp","authorization_servers":["%s"],"signed_metadata":"%s","x":"%s"}`, l.URL, l.URL, secret("signed"), secret("member"))
	case "/.well-known/oauth-authorization-server":
		h.Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer":"%[1]s","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token","registration_endpoint":"%[1]s/register",`+
			`"revocation_endpoint":"https://user:%[2]s@elsewhere.example/?t=%[2]s","token_endpoint_auth_methods_supported":["private_key_jwt"],"signed_metadata":"%[2]s"}`, l.URL, secret("server"))
	case "/authorize":
		h.Add("Set-Cookie", "login="+secret("cookie"))
		to := r.FormValue("redirect_uri")
		if to == "" {
			to = "/consent?ticket=" + secret("ticket")
		}
		h.Set("Location", to+"?code="+secret("code")+"&state="+r.FormValue("state")+"&iss="+url.QueryEscape(l.URL))
		w.WriteHeader(http.StatusFound)
	case "/token", "/register":
		h.Set("Content-Type", "application/json")
		if r.FormValue("grant_type") == "refuse" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"%s","refresh_token":"%s","client_secret":"%s"}`, secret("access"), secret("refresh"), secret("clientsecret"))
	case "/sse":
		l.stream(w, r)
	default:
		l.mcp(w, r)
	}
}

// stream is an event stream of HTTP+SSE.
func (l *tattler) stream(w http.ResponseWriter, r *http.Request) {
	answers := make(chan string, 100)
	l.mu.Lock()
	path := fmt.Sprintf("/messages/%d-%s", len(l.streams), secret("path"))
	l.streams[path] = answers
	l.mu.Unlock()
	to := path + "?sessionId=" + secret("session")
	if r.Header.Get("X-Foreign") != "" {
		to = l.foreign + to
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for text := "event: endpoint\ndata: " + to + "\n\n"; ; {
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		if r.Header.Get("X-Short") != "" {
			return
		}
		select {
		case answer := <-answers:
			text = "data: " + answer + "\n\n"
		case <-r.Context().Done():
			return
		}
	}
}

// mcp answers the endpoint, and what is posted to a message path.
func (l *tattler) mcp(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	body, _ := io.ReadAll(r.Body)
	do := r.Header.Get("X-Do")
	if lines, ok := leaks[do]; ok {
		for _, line := range lines {
			h.Add("WWW-Authenticate", strings.ReplaceAll(line, "%s", l.URL))
		}
		h.Set("DPoP-Nonce", secret("nonce"))
		status := http.StatusUnauthorized
		if do == "scope" {
			status = http.StatusForbidden
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, secret("body"))
		return
	}
	switch do {
	case "redirect":
		h.Set("Location", l.foreign+"/mcp?token="+secret("location"))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	case "500":
		http.Error(w, secret("body"), http.StatusInternalServerError)
		return
	case "abort":
		panic(http.ErrAbortHandler)
	case "broken":
		h.Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: "+secret("event")+"\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Mcp-Session-Id", secret("session"))
	h.Set("Set-Cookie", "sid="+secret("cookie"))
	answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"l","version":"1"},"text":"%s"}}`, idOf(body), secret("result"))
	l.mu.Lock()
	answers := l.streams[r.URL.Path]
	l.mu.Unlock()
	if answers != nil {
		w.WriteHeader(http.StatusAccepted)
		answers <- answer
		return
	}
	_, _ = io.WriteString(w, answer)
}

func idOf(body []byte) string {
	var m struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(body, &m) != nil || m.ID == nil {
		return "1"
	}
	return string(m.ID)
}
