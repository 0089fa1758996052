package dpop

import (
	"fmt"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// E1: the memory of proofs is bounded for each key and in all, and a replay is never taken
// for new while it could count.
func TestReplaysAreBounded(t *testing.T) {
	r, now := NewReplays(), time.Now()
	for n := range maxProofsOfKey {
		if refusal := r.Use(&Proof{Thumbprint: "greedy", id: fmt.Sprint(n)}, now); refusal != nil {
			t.Fatal(refusal)
		}
	}
	if refusal := r.Use(&Proof{Thumbprint: "greedy", id: "more"}, now); refusal == nil || refusal.Code != principal.Unavailable {
		t.Errorf("got %v; want that it is too much", refusal)
	}
	if refusal := r.Use(&Proof{Thumbprint: "modest", id: "0"}, now); refusal != nil {
		t.Errorf("another key: %v", refusal)
	}
	for n := 0; len(r.order) < maxProofs; n++ {
		if refusal := r.Use(&Proof{Thumbprint: fmt.Sprint("k", n), id: "0"}, now); refusal != nil {
			t.Fatal(refusal)
		}
	}
	if refusal := r.Use(&Proof{Thumbprint: "late", id: "0"}, now); refusal == nil || refusal.Code != principal.Unavailable {
		t.Errorf("got %v; want that it is too much", refusal)
	}
	end := now.Add(2 * Window)
	if refusal := r.Use(&Proof{Thumbprint: "modest", id: "0"}, end); refusal == nil || refusal.Reason != principal.ProofReplayed {
		t.Errorf("got %v; want a replay", refusal)
	}
	end = end.Add(2 * time.Second)
	if refusal := r.Use(&Proof{Thumbprint: "late", id: "0"}, end); refusal != nil {
		t.Errorf("after a while: %v", refusal)
	}
	if len(r.seen) != 1 || len(r.order) != 1 || len(r.ofKey) != 1 {
		t.Errorf("kept %d, %d, %d", len(r.seen), len(r.order), len(r.ofKey))
	}
}

// E1: two URLs that differ in more than their form are different.
func FuzzSameURL(f *testing.F) {
	f.Add("https://mcp.example.com/mcp")
	f.Add("HTTPS://MCP.example.com:443/%6Dcp?x#y")
	f.Add("https://mcp.example.com/%2e%2E/mcp")
	f.Add("https://mcp.example.com%2f@x/mcp")
	f.Add("http://:")
	f.Add("https://mcp.example.com:443:443/mcp")
	f.Add("https://mcp.example.com/m%C3%BCp\u00fc\"[%5b%")
	f.Fuzz(func(t *testing.T, raw string) {
		one, ok := normalize(raw)
		if !ok {
			return
		}
		if two, ok := normalize(one); !ok || two != one {
			t.Errorf("%q becomes %q, and then %q", raw, one, two)
		}
		if sameURL(one, "https://mcp.example.com/mcp") != (one == "https://mcp.example.com/mcp") {
			t.Errorf("%q", one)
		}
	})
}

// E1: which spellings of `htu` are the same URL.
func TestSameURL(t *testing.T) {
	const endpoint = "https://mcp.example.com/m%C3%BCp/a+b"
	for raw, want := range map[string]bool{
		endpoint: true,
		"HTTPS://MCP.Example.com:443/m%c3%bcp/a+b":     true,
		"https://mcp.example.com/m\u00fcp/%61+b?x#y":   true,
		"https://mcp.example.com:/m%C3%BCp/a+b":        true,
		"https://mcp.example.com/m%C3%BCp/a%2Bb":       false,
		"https://mcp.example.com/m%C3%BCp/a+b/":        false,
		"https://mcp.example.com/m%C3%BCp/a+b%":        false,
		"https://mcp.example.com:443:443/m%C3%BCp/a+b": false,
		"https://mcp.example.com:8443/m%C3%BCp/a+b":    false,
		"https://:443/m%C3%BCp/a+b":                    false,
		"//mcp.example.com/m%C3%BCp/a+b":               false,
	} {
		if got := sameURL(raw, endpoint); got != want {
			t.Errorf("%q: got %v, want %v", raw, got, want)
		}
	}
}

// FuzzParse gives any text for a proof.
func FuzzParse(f *testing.F) {
	f.Add("eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2In0.e30.AAAA")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		if p, refusal := Parse(raw, Request{Method: "POST", URL: "https://mcp.example.com/mcp", Token: "t", Now: time.Now()}); (p == nil) == (refusal == nil) {
			t.Errorf("got %v and %v", p, refusal)
		}
	})
}
