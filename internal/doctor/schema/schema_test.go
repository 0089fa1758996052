package schema

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// A schema has no member twice, and its sets of SDKs agree with each other.
func TestSchemas(t *testing.T) {
	for i, s := range []Schema{Resource, AuthorizationServer, OpenID, Registration, Token, Device, Error} {
		var names []string
		for _, m := range s.members {
			if slices.Contains(names, m.name) || (m.needed|m.parsed|m.nulls)&^m.typed != 0 || m.blank&^m.parsed != 0 {
				t.Errorf("%d: %+v", i, m)
			}
			names = append(names, m.name)
		}
	}
}

// Any document can be checked, and faults contain no values.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{`{}`, `{"resource":[]}`, `{"expires_in":1e400}`, `{"access_token":{"a":[null]}}`, `{"redirect_uris":["s3cr3t-of-somebody"]}`, `{"issuer":"://"}`} {
		f.Add(seed)
	}
	all := []Schema{Resource, AuthorizationServer, OpenID, Registration, Token, Device, Error}
	f.Fuzz(func(t *testing.T, raw string) {
		var document map[string]json.RawMessage
		if json.Unmarshal([]byte(raw), &document) != nil {
			return
		}
		empty := make(map[string]json.RawMessage)
		for _, s := range all {
			names := make(map[string]bool)
			for _, one := range s.Faults(document) {
				if names[one.Name] || len(one.String()) > 200 {
					t.Errorf("%s is named twice, or at length: %s", one.Name, one)
				}
				names[one.Name] = true
				if missing := strings.HasSuffix(one.What, " is missing"); missing != (document[one.Name] == nil) {
					t.Errorf("%s: %q of %s", one.Name, one.What, document[one.Name])
				}
			}
			required := 0
			for _, m := range s.members {
				if m.required {
					required++
				}
			}
			if n := len(s.Faults(empty)); n != required {
				t.Errorf("%d faults of an empty document, want %d", n, required)
			}
		}
	})
}
