package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// audience is that of the tokens of -authorize.
const audience = "https://" + publicHost + endpoint

// listSizes are the numbers of tools in the lists of -authorize. One tool in hideOneOf may
// not be used with the tokens.
var listSizes = []int{10, 100, 1000}

const hideOneOf = 10

// newTokens is how many tokens there are for the case call-new. A round has new processes, which
// have seen none of them, and at most as many requests for each.
const newTokens = 10_000

// tokens signs n access tokens.
func tokens(i *benchkit.Issuer, n int) ([]string, error) {
	all := make([]string, n)
	for k := range all {
		var err error
		if all[k], err = i.Token("alice", audience, "mcp files:read"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// compareAuthorize makes the second configuration the endpoint as it is, and the third the same
// with authorize. It replaces the cases by those whose cost depends on it.
func compareAuthorize(i *benchkit.Issuer) error {
	const rules = `
		authorize {
			issuer {issuer} {
				audience {audience}
			}
			scope mcp
			tools search_* {
				scope files:read
			}
			tools hidden_* {
				scope files:admin
			}
			lists hide
		}
	}
`
	open := configurations[bridge].site
	configurations[byHand] = configuration{name: "open", site: open}
	configurations[bridge] = configuration{name: "authorize", site: strings.TrimSuffix(open, "\t}\n") +
		strings.NewReplacer("{issuer}", i.URL, "{audience}", audience).Replace(rules)[1:]}

	fresh, err := tokens(i, newTokens)
	if err != nil {
		return err
	}
	one := fresh[0]
	measured = []*testCase{authorized("call", "json-300", call, one), authorized("call-new", "json-300", call, fresh...)}
	for _, n := range listSizes {
		name := "list-" + strconv.Itoa(n)
		tc := authorized(name, name, `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, one)
		tc.bodies[bridge] = []byte(toolList(n, false))
		measured = append(measured, tc)
	}
	return nil
}

// authorized is a message with each of the tokens in turn. It has no session id: with authorize
// an endpoint gives out ids of its own.
func authorized(name, asked, body string, tokens ...string) *testCase {
	tc := post(name, asked, body, http.StatusOK)
	request := bytes.Replace(tc.request, []byte("Mcp-Session-Id: "+sessionID+"\r\n"), nil, 1)
	tc.needs = [maxConfigurations]map[string]string{byHand: allowed, bridge: allowed}
	tc.requests = make([][]byte, len(tokens))
	for i, token := range tokens {
		tc.requests[i] = bytes.Replace(request, []byte(accessToken), []byte(token), 1)
	}
	return tc
}

// toolList is the answer to tools/list with n tools. Without hidden those are left out that the
// tokens may not use.
func toolList(n int, hidden bool) string {
	var b strings.Builder
	b.WriteString(`{"jsonrpc":"2.0","id":7,"result":{"tools":[`)
	first := true
	for i := range n {
		name := "search_" + strconv.Itoa(i)
		if i%hideOneOf == 1 {
			if name = "hidden_" + strconv.Itoa(i); !hidden {
				continue
			}
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		fmt.Fprintf(&b, `{"name":%q,"description":"Searches the documents of a department by words, and returns the lines.","inputSchema":{"type":"object","properties":{"query":{"type":"string","description":"the words"},"limit":{"type":"integer"}},"required":["query"]}}`, name)
	}
	b.WriteString(`]}}`)
	return b.String()
}
