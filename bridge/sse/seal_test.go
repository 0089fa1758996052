package sse

import (
	"encoding/base64"
	"strings"
	"testing"
)

func newSealer(t testing.TB) *Sealer {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Rule D2: a sealed path opens on any replica with the same key, and for the
// endpoint it was made for only.
func TestSeal(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/messages", "/", "", "/a%2Fb/ü", strings.Repeat("/x", 500)} {
		token := a.Seal(path, "/mcp up:80")
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("token %q is no plain path segment", token)
		}
		got, ok := b.Open(token, "/mcp up:80")
		if !ok || got != path {
			t.Errorf("got %q, %v, want %q", got, ok, path)
		}
		if token != b.Seal(path, "/mcp up:80") {
			t.Errorf("token of %q differs between replicas", path)
		}
		if _, ok := b.Open(token, "/other up:80"); ok {
			t.Errorf("token of one endpoint opened at another")
		}
		if _, ok := newSealer(t).Open(token, "/mcp up:80"); ok {
			t.Errorf("token opened with another key")
		}
	}
}

// Rule D2: a client cannot name a path that the upstream did not announce.
func TestSealRefusesForgery(t *testing.T) {
	s := newSealer(t)
	token := s.Seal("/messages", "scope")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		forged := append([]byte(nil), raw...)
		forged[i] ^= 1
		if path, ok := s.Open(base64.RawURLEncoding.EncodeToString(forged), "scope"); ok {
			t.Errorf("bit flipped in byte %d, opened as %q", i, path)
		}
	}
	for _, bad := range []string{"", "a", "/messages", token + "A", token[:len(token)-1], token + "=", strings.Repeat("A", 1<<20)} {
		if _, ok := s.Open(bad, "scope"); ok {
			t.Errorf("%.40q opened", bad)
		}
	}
}

func FuzzSealOpen(f *testing.F) {
	s := newSealer(f)
	good := s.Seal("/messages", "scope")
	f.Add(good, "/messages")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, token, path string) {
		if _, ok := s.Open(token, "scope"); ok && token != good {
			t.Errorf("forged token %q opened", token)
		}
		if len(path) < 1000 {
			if got, ok := s.Open(s.Seal(path, "x"), "x"); !ok || got != path {
				t.Errorf("got %q, want %q", got, path)
			}
		}
	})
}
