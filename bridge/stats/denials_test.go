package stats

import (
	"fmt"
	"strings"
	"testing"
)

// Rule E9: denials that are alike are counted together, whatever the error of the issuer was;
// their number and their texts are bounded, and an error has no secret.
func TestDenialsAreBounded(t *testing.T) {
	m := NewMemory()
	for n := range 3 {
		m.Denied(Denial{Kind: DenialIssuer, Status: 503}, fmt.Sprintf("read tcp 127.0.0.1:%d: reset by https://user:pw@issuer.example/jwks?token=hush", 40000+n))
	}
	all := m.Denials()
	if len(all) != 1 || all[0].Count != 3 || !strings.Contains(all[0].Cause, ":40002: reset by https://issuer.example/jwks") || strings.Contains(all[0].Cause, "hush") || strings.Contains(all[0].Cause, "pw") {
		t.Errorf("got %+v", all)
	}
	for n := range 10_000 {
		m.Denied(Denial{Kind: DenialScope, Status: 403, Name: fmt.Sprint(n, strings.Repeat("\xff", 10_000)), User: strings.Repeat("u", 10_000)}, "")
	}
	all = m.Denials()
	if len(all) != maxDenials || !strings.HasPrefix(all[0].Name, "9999\uFFFD") {
		t.Errorf("got %d, the first is %q", len(all), all[0].Name)
	}
	for _, d := range all {
		if len(d.Name) > maxDenialText+3 || len(d.User) > maxDenialText+3 {
			t.Fatalf("got %d bytes", len(d.Name)+len(d.User))
		}
	}
}

// Rule E9: an issuer is shown with its last error while it cannot be asked, and a new
// configuration has not asked any.
func TestIssuersThatCannotBeAsked(t *testing.T) {
	m := NewMemory()
	m.IssuerBack("a", IssuerKeys)
	m.IssuerFailed("a", IssuerKeys, "first")
	m.IssuerFailed("a", IssuerTokens, "other")
	m.IssuerFailed("a", IssuerKeys, "second")
	if all := m.Issuers(); len(all) != 2 || all[0].Error != "second" || all[0].Last.Before(all[0].Failing) || all[1].Use != IssuerTokens {
		t.Errorf("got %+v", all)
	}
	m.IssuerBack("a", IssuerKeys)
	if all := m.Issuers(); len(all) != 1 || all[0].Use != IssuerTokens {
		t.Errorf("got %+v", all)
	}
	for n := range 2 * maxIssuers {
		m.IssuerFailed(fmt.Sprint(n), IssuerKeys, "")
	}
	if all := m.Issuers(); len(all) != maxIssuers {
		t.Errorf("got %d issuers", len(all))
	}
	m.Attach(NewCounts())
	if all := m.Issuers(); len(all) != 0 {
		t.Errorf("got %+v", all)
	}
}
