package keyset

import (
	"strings"
	"testing"
)

// E9: what an issuer writes of itself is shown without user, query and fragment.
func TestOtherIssuerIsShownWithoutSecrets(t *testing.T) {
	_, err := parseMetadata([]byte(`{"issuer":"https://user:hush@login.example.com/a?key=hush#hush","jwks_uri":"https://login.example.com/k"}`), "https://login.example.com")
	if err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), "login.example.com/a") {
		t.Errorf("got %v", err)
	}
}
