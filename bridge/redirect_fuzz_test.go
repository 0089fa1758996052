package bridge

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Rules A5, A10: whatever a server writes into Location and Content-Location, nothing that
// names it by another name than the public one reaches a client, what is foreign stays as
// it is, and a redirect never leads back to the URL that was asked for.
func FuzzRedirects(f *testing.F) {
	for _, to := range []string{
		"/mcp/", "/mcp", "mcp/", "?a=b", "", "#x", "//10.0.0.5:3000/mcp/", "//evil.test/mcp/", `/\evil.test`, `\\evil.test\mcp`, "http:/mcp", "http:mcp",
		"http://10.0.0.5:3000/mcp/?a=b", "http://localhost:8000/mcp/?a=b", "https://mcp.example.com/mcp/?a=b", "https://mcp.example.com:9443/mcp/?a=b",
		"http://mcp.example.com:3000/inner", "http://10.0.0.5:3000//evil.test/", "http://a@10.0.0.5:3000/x", "http://10.0.0.5:3000@evil.test/", "HTTP://LOCALHOST./x",
		"https://login.example.org/x?y#z", "javascript:alert(1)", "http://[::1]/%2e%2e/mcp", "http://127.1/x", "/mcp%2F?a=b", "/x/../mcp/?a=b", "http://pod-1/inner/?a=b",
		"http://[::]#%", "http://10.0.0.5:3000/100%/x?%zz", "http://10.0.0.5:3000/mcp?a=b#%", "/mcp/?a=b%",
		"https://@mcp.example.com/mcp?a=b", "https://a@mcp.example.com/mcp?a=b", "https://a:b@mcp.example.com/mcp/?a=b", "https://:@mcp.example.com/mcp?a=b", "http://@10.0.0.5:3000/x",
	} {
		for _, status := range []uint16{201, 301, 303, 308} {
			f.Add(to, status, false)
			f.Add(to, status, true)
		}
	}
	names, err := origin.NewNames([]string{"10.0.0.5:3000"}, false, []string{"https://listed.example"})
	if err != nil {
		f.Fatal(err)
	}
	public := metadata.Public{Origin: "https://mcp.example.com", Path: "/mcp", Fixed: true}
	f.Fuzz(func(t *testing.T, to string, status uint16, inner bool) {
		if status < 200 || status > 599 || strings.ContainsAny(to, "\r\n") {
			return
		}
		path := "/mcp"
		if inner {
			path = "/inner"
		}
		e := New(Config{Path: "/mcp", Kind: KindHTTP, UpstreamPath: path, Names: names, Site: Site{Origin: public.Origin}})
		r := httptest.NewRequest(http.MethodPost, "http://mcp.example.com/mcp?a=b", nil)
		var x ClientRequest
		x.Begin(e, r, Client{}, TargetEndpoint, path)
		asks := 0
		sent := httptest.NewRequest(http.MethodPost, "http://10.0.0.5:3000/mcp?a=b", nil)
		sent.Host = "mcp.example.com"
		res, err := x.RoundTrip(sent, func(req *http.Request) (*http.Response, error) {
			if asks++; asks > 2 {
				t.Fatalf("%q is followed more than once", to)
			}
			if req.URL.RawQuery != "a=b" {
				t.Fatalf("%q is followed to query %q", to, req.URL.RawQuery)
			}
			h := http.Header{"Location": {to}, "Content-Location": {to}}
			return &http.Response{StatusCode: int(status), Header: h, Body: http.NoBody, Request: req}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Location", "Content-Location"} {
			got := res.Header.Get(name)
			u, err := origin.Parse(got)
			own := err == nil && names.Own(u, origin.Seen{Public: mustURL(public.Origin), Sent: "mcp.example.com", Dial: "10.0.0.5:3000"}, origin.Reference)
			switch {
			case got == "":
			case strings.HasPrefix(got, public.Origin+"/"), got == public.Origin, strings.HasPrefix(got, public.Origin+"?"), strings.HasPrefix(got, public.Origin+"#"):
			case got != to:
				t.Fatalf("%s %q became %q", name, to, got)
			case own:
				t.Fatalf("%s %q reaches the client", name, to)
			}
			back, err := url.Parse(got)
			if name == "Location" && err == nil && got != "" && slices.Contains([]uint16{301, 302, 307, 308}, status) &&
				back.Host == "mcp.example.com" && back.Scheme == "https" && strings.TrimSuffix(back.EscapedPath(), "/") == "/mcp" && back.RawQuery == "a=b" {
				t.Fatalf("%d to %q leads back to %q", status, to, got)
			}
		}
	})
}

func mustURL(raw string) origin.URL {
	u, err := origin.Parse(raw)
	if err != nil {
		panic(err)
	}
	return u
}
