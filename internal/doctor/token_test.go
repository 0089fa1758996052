package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// needing answers as an MCP server whose methods and tools need scopes beside mcp:read. The
// challenge names them as written; "-" is a 403 that names none, and "" one without challenge.
func (s *site) needing(scopes map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var message struct {
			Method string
			Params struct{ Name string }
		}
		_ = json.Unmarshal(body, &message)
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		c, ok := readClaims(token)
		if !ok {
			s.refuse(w, "")
			return
		}
		for _, name := range []string{message.Method, message.Params.Name} {
			need, ruled := scopes[name]
			if !ruled || need != "" && need != "-" && len(lacking(need, c.granted())) == 0 {
				continue
			}
			switch need {
			case "":
			case "-":
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
			default:
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, need))
			}
			w.WriteHeader(http.StatusForbidden)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		speak(w, r)
	}
}

// The login walks through step-up: what a 403 asks for is logged in for with the scopes of the
// first login, once, and the refused message is sent again in the same session. Without the
// option the finding says what clients do, and the fix names the option.
func TestStepUp(t *testing.T) {
	for name, tc := range map[string]struct {
		needs  map[string]string
		call   string
		stepUp bool
		state  report.State
		says   string // in the text
		asked  []string
	}{
		"a tool": {
			map[string]string{"one": "mcp:write"},
			"one", true,
			report.Healthy, "Step-up works: a second login got mcp:write.",
			[]string{"mcp:read", "mcp:read mcp:write"},
		},
		"a tool, all scopes in the challenge": {
			map[string]string{"one": "mcp:read mcp:write"},
			"one", true,
			report.Healthy, "called one. Step-up works",
			[]string{"mcp:read", "mcp:read mcp:write"},
		},
		"a tool that needs no more": {nil, "one", true, report.Healthy, "2 tools, called one.", []string{"mcp:read"}},
		"a tool, not tried": {
			map[string]string{"one": "mcp:write"},
			"one", false,
			report.Healthy, "Warning: tool one needs more scopes: mcp:write; clients log in a second time for them, or fail if they cannot. Fix (command line) test the second login with `--step-up`",
			[]string{"mcp:read"},
		},
		"the list": {
			map[string]string{"tools/list": "mcp:list"},
			"", true,
			report.Healthy, "2 tools. Step-up works: a second login got mcp:list.",
			[]string{"mcp:read", "mcp:read mcp:list"},
		},
		"the list, not tried": {
			map[string]string{"tools/list": "mcp:list"},
			"", false,
			report.Broken, "test with `--step-up` whether a second login helps",
			[]string{"mcp:read"},
		},
		"the first message": {
			map[string]string{"initialize": "mcp:open"},
			"one", true,
			report.Healthy, "called one. Step-up works: a second login got mcp:open.",
			[]string{"mcp:read", "mcp:read mcp:open"},
		},
		"twice": {
			map[string]string{"tools/list": "mcp:list", "one": "mcp:write"},
			"one", true,
			report.Broken, "Login works, but step-up does not: tool one still needs more scopes after the second login: mcp:write",
			[]string{"mcp:read", "mcp:read mcp:list"},
		},
		"no scope named": {
			map[string]string{"one": "-"},
			"one", true,
			report.Broken, "the challenge does not say which",
			[]string{"mcp:read"},
		},
		"no scope would help": {
			map[string]string{"one": ""},
			"one", true,
			report.Healthy, "no challenge says that more scopes would help",
			[]string{"mcp:read"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite()
			s.answer = s.needing(tc.needs)
			s.start(t)
			opts := Options{URL: mcpURL, Transport: s.transport(), Login: true, Browse: s.browse(t), Call: tc.call, StepUp: tc.stepUp}
			r, err := Run(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := r.WriteText(&text, report.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(strings.Fields(text.String()), " "); r.Verdict.State != tc.state || !strings.Contains(got, tc.says) {
				t.Errorf("got %s, want %s and %q\n%s", r.Verdict.State, tc.state, tc.says, text.String())
			}
			if lines := strings.Count(text.String(), "\n"); lines > 14 {
				t.Errorf("%d lines\n%s", lines, text.String())
			}
			var asked, sessions []string
			registered := 0
			for _, r := range s.asked("login.example.com") {
				switch r.Method + " " + r.URL.Path {
				case "GET /authorize":
					asked = append(asked, r.URL.Query().Get("scope"))
				case "POST /register":
					registered++
				}
			}
			for _, r := range s.asked("mcp.example.com") {
				if id := r.Header.Get("Mcp-Session-Id"); id != "" && !slices.Contains(sessions, id) {
					sessions = append(sessions, id)
				}
			}
			if !slices.Equal(asked, tc.asked) || registered > 1 || len(sessions) > 1 {
				t.Errorf("asked for %q with %d clients in the sessions %q, want %q", asked, registered, sessions, tc.asked)
			}
		})
	}
}

// Step-up needs a login that can be repeated.
func TestStepUpWithoutLogin(t *testing.T) {
	if _, err := Run(t.Context(), Options{URL: mcpURL, Token: "token", StepUp: true}); err == nil || !strings.Contains(err.Error(), "--step-up needs --login") {
		t.Errorf("got %v", err)
	}
}
