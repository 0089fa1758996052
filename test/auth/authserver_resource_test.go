package auth_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// Rule C5: the resource is mapped back where a client may name it, on exact
// equality; nothing else of a request changes.
func TestServerResource(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	public, private := url.QueryEscape(base+"/mcp"), url.QueryEscape(s.URL+"/mcp")
	fill := strings.NewReplacer("PUBLIC", public, "PRIVATE", private)
	for name, tc := range map[string]struct{ send, want string }{
		"exact":         {"a=1&resource=PUBLIC&redirect_uri=PUBLIC%2Fcb&b=%20+", "a=1&resource=PRIVATE&redirect_uri=PUBLIC%2Fcb&b=%20+"},
		"with a slash":  {"resource=PUBLIC%2F", "resource=PRIVATE"},
		"twice":         {"resource=PUBLIC&resource=https%3A%2F%2Fother.example&resource=PUBLIC", "resource=PRIVATE&resource=https%3A%2F%2Fother.example&resource=PRIVATE"},
		"longer":        {"resource=PUBLIC%2Fx", "resource=PUBLIC%2Fx"},
		"other":         {"resource=https%3A%2F%2Fother.example&client_id=PUBLIC", "resource=https%3A%2F%2Fother.example&client_id=PUBLIC"},
		"escaped name":  {"%72esource=PUBLIC", "%72esource=PRIVATE"},
		"no pair":       {"resource", "resource"},
		"broken escape": {"resource=%zz&resource=PUBLIC", "resource=%zz&resource=PRIVATE"},
	} {
		t.Run(name, func(t *testing.T) {
			send, want := fill.Replace(tc.send), fill.Replace(tc.want)
			mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize?"+send, ""))
			if got, _ := s.last("/authorize"); got.query != want {
				t.Errorf("query: got %q, want %q", got.query, want)
			}
			for _, path := range []string{"/token", "/par", "/authorize"} {
				r := mcptest.NewRequest(t, "POST", base+path, send)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
				mcptest.Do(t, c, r)
				if got, _ := s.last(path); got.body != want || got.header.Get("Content-Length") != fmt.Sprint(len(want)) {
					t.Errorf("%s: got %q (length %s), want %q", path, got.body, got.header.Get("Content-Length"), want)
				}
			}
			for _, path := range []string{"/register", "/revoke"} {
				r := mcptest.NewRequest(t, "POST", base+path+"?"+send, send)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				mcptest.Do(t, c, r)
				if got, _ := s.last(path); got.body != send || got.query != send {
					t.Errorf("%s: got %q and %q, want both untouched", path, got.query, got.body)
				}
			}
		})
	}
	big := mcptest.NewRequest(t, "POST", base+"/token", "a="+strings.Repeat("b", 2<<20))
	big.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := mcptest.Do(t, c, big); got.Status != http.StatusRequestEntityTooLarge || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a form of 2 MiB: got %d, header %v", got.Status, got.Header)
	}
	chunked := mcptest.NewRequest(t, "POST", base+"/token", "")
	chunked.Body, chunked.ContentLength = io.NopCloser(strings.NewReader("a="+strings.Repeat("b", 2<<20))), -1
	chunked.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := mcptest.Do(t, c, chunked); got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 2 MiB of unknown length: got %d", got.Status)
	}
}

// Rule C5: a server whose metadata names its private URL, and that accepts the
// public one alone, is asked again, and from then on at once.
func TestServerRefusesResource(t *testing.T) {
	s := newCohosted(t)
	wanted := ""
	refuses := func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if r.Form.Get("resource") == wanted {
			w.Header().Set("Location", "http://127.0.0.1:1/cb?code=1")
			w.WriteHeader(http.StatusFound)
			return
		}
		if r.URL.Path == "/authorize" {
			w.Header().Set("Location", "http://127.0.0.1:1/cb?error=invalid_target")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_target"}`)
	}
	s.handlers["/authorize"] = refuses
	s.handlers["/token"] = func(w http.ResponseWriter, r *http.Request) {
		// The body was read by serve; the form is what it remembers.
		got, _ := s.last("/token")
		r.Body = io.NopCloser(strings.NewReader(got.body))
		refuses(w, r)
	}
	base := startBridged(t, s, bridged)
	wanted = base + "/mcp"
	c := mcptest.NewClient(t)
	ask := func() (first, second mcptest.Answer) {
		form := mcptest.NewRequest(t, "POST", base+"/token", "resource="+url.QueryEscape(base+"/mcp"))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize?resource="+url.QueryEscape(base+"/mcp"), "")), mcptest.Do(t, c, form)
	}
	for range 2 {
		first, second := ask()
		if first.Header.Get("Location") != "http://127.0.0.1:1/cb?code=1" || second.Status != http.StatusFound {
			t.Errorf("got %v and %d %s", first.Header, second.Status, second.Body)
		}
	}
	if n := s.count("/authorize"); n != 3 {
		t.Errorf("%d authorization requests reached the server, want 3", n)
	}
	if n := s.count("/token"); n != 2 {
		t.Errorf("%d token requests reached the server, want 2", n)
	}
	wanted = "neither"
	if _, second := ask(); second.Status != http.StatusBadRequest || second.Body != `{"error":"invalid_target"}` {
		t.Errorf("got %d %s", second.Status, second.Body)
	}
}

// Rule C5: a refusal is understood although the client accepts compressed
// answers, and the server has them for all that do.
func TestServerRefusesResourceCompressed(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/token"] = func(w http.ResponseWriter, r *http.Request) {
		got, _ := s.last("/token")
		status, document := http.StatusOK, `{"access_token":"x"}`
		if strings.Contains(got.body, url.QueryEscape(s.URL)) {
			status, document = http.StatusBadRequest, `{"error":"invalid_target"}`
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, document)
			_ = z.Close()
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, document)
	}
	base := startBridged(t, s, bridged)
	r := mcptest.NewRequest(t, "POST", base+"/token", "resource="+url.QueryEscape(base+"/mcp"), "Accept-Encoding", "gzip, deflate, br")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != http.StatusOK || got.Body != `{"access_token":"x"}` {
		t.Errorf("got %d %q", got.Status, got.Body)
	}
}
