// Package report has the result of a check: its form as JSON, its text for people, the
// comparison of two checks, and the secrets that must not be in it.
package report

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Version is the version of the report as JSON. It changes when a member is removed or
// gets another meaning. A new member does not change it.
const Version = 1

// Level says how well a rule is met.
type Level string

// The levels.
const (
	Pass Level = "pass"
	Warn Level = "warn" // some clients have trouble, or will have
	Fail Level = "fail" // clients that follow the specification, or those of the TypeScript SDK, stop here
	Skip Level = "skip" // of a step that was not needed or not possible
)

// worse returns the worse of two levels.
func worse(a, b Level) Level {
	rank := map[Level]int{Skip: 0, Pass: 1, Warn: 2, Fail: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// State is the outcome of a check.
type State string

// The states.
const (
	Healthy     State = "healthy"     // there may be warnings
	Broken      State = "broken"      // a client stops somewhere
	Unreachable State = "unreachable" // nothing that speaks HTTP was reached
)

// Report is what a check found.
type Report struct {
	// Version is the constant Version.
	Version int `json:"version"`
	// URL is the URL of the server, without its query.
	URL string `json:"url"`
	// Origin is the origin of the page whose access was checked. OriginAsked is true
	// if the caller named it.
	Origin      string `json:"origin"`
	OriginAsked bool   `json:"origin_asked"`
	// Search says how the URL was completed. It is nil if the caller gave it whole.
	Search *Search `json:"search,omitempty"`
	// Verdict is the result in short.
	Verdict Verdict `json:"verdict"`
	// Proven is what worked.
	Proven Proven `json:"proven"`
	// Token is what the token of the caller says of itself. It is nil if there was none.
	Token *Token `json:"token,omitempty"`
	// Steps are in the order in which a client takes them.
	Steps []*Step `json:"steps"`
	// Upstream is the report of the check of the upstream, past the proxy in front of it.
	Upstream *Report `json:"upstream,omitempty"`
	// Differences are what the two checks saw differently.
	Differences []Difference `json:"differences,omitempty"`
}

// Search is how a URL without a scheme or a path was completed.
type Search struct {
	// Given is what the caller gave, without its query.
	Given string `json:"given"`
	// Tried are the URLs that were tried, without their queries.
	Tried []string `json:"tried,omitempty"`
	// Found is true if an MCP server answered at one of them.
	Found bool `json:"found"`
}

// Proven is what worked.
type Proven struct {
	// SignedIn is true if the doctor logged in.
	SignedIn bool `json:"signed_in"`
	// Session is true if messages were answered, in a session or by a stateless server.
	Session bool `json:"session"`
	// Server and Revision are the server's name and version, and the revision of MCP.
	Server   string `json:"server,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Tools is the number of tools in the first answer to tools/list, and More is true
	// if there are more. Tools is absent if the server did not list tools.
	Tools *int `json:"tools,omitempty"`
	More  bool `json:"more_tools,omitempty"`
	// SteppedUp are the scopes that a second login was for, and Called is the tool that was
	// called.
	SteppedUp []string `json:"stepped_up,omitempty"`
	Called    string   `json:"called,omitempty"`
	// AuthorizationServer is its issuer.
	AuthorizationServer string `json:"authorization_server,omitempty"`
	// PKCE is true if the authorization server supports S256. Registration lists how
	// clients get an ID: "metadata document", "dynamic registration", "client ID".
	PKCE         bool     `json:"pkce,omitempty"`
	Registration []string `json:"registration,omitempty"`
}

// Token has the claims of an access token that decide whether a server accepts it. They are
// not verified.
type Token struct {
	// JWT is false if the token cannot be read.
	JWT      bool     `json:"jwt"`
	Issuer   string   `json:"issuer,omitempty"`
	Audience []string `json:"audience,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Expires  string   `json:"expires,omitempty"`
	// Bound is what the token is bound to: "a DPoP key" or "a client certificate".
	Bound string `json:"bound,omitempty"`
}

// Verdict has the cause that a client meets first, and its fix.
type Verdict struct {
	State State `json:"state"`
	// Effect says what clients do, for example "Clients stop before login". It is empty
	// if nothing fails.
	Effect string `json:"effect,omitempty"`
	// Text is what was found first. If nothing fails, it is a sentence that says what
	// works.
	Text string `json:"text"`
	// Step and Finding are the first failure. If there is none, they are the first
	// warning, if any. Warnings about web pages come after the others.
	Step    string   `json:"step,omitempty"`
	Finding *Finding `json:"finding,omitempty"`
	// Blame is the side that causes the finding: "front" or "server". It is empty if
	// the upstream was not checked.
	Blame string `json:"blame,omitempty"`
	// Fails and Warnings count the findings.
	Fails    int `json:"fails"`
	Warnings int `json:"warnings"`
}

// Step is one step of a client.
type Step struct {
	// ID is stable; programs may compare it. Title is for people.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Level is the worst level of the findings.
	Level Level `json:"level"`
	// Why is the reason if the step was skipped.
	Why       string      `json:"why,omitempty"`
	Exchanges []*Exchange `json:"exchanges,omitempty"`
	Findings  []Finding   `json:"findings,omitempty"`
}

// Exchange is one request and its answer.
type Exchange struct {
	// Name is stable within a step.
	Name   string `json:"name"`
	Method string `json:"method"`
	// URL has no query.
	URL string `json:"url"`
	// Sent and Seen are the header fields that matter to clients. They contain no
	// secrets.
	Sent []Field `json:"sent,omitempty"`
	// Status is 0 if there was no answer. Error is then the reason.
	Status int     `json:"status,omitempty"`
	Error  string  `json:"error,omitempty"`
	Seen   []Field `json:"seen,omitempty"`
	// Size is the number of bytes that were read of the body. Whole is true if that
	// was the whole body.
	Size  int  `json:"size"`
	Whole bool `json:"whole"`
	// Excerpt is the beginning of the body of an error, or of a body in an unknown
	// form.
	Excerpt string `json:"excerpt,omitempty"`
	// HeaderMS and TookMS are the milliseconds until the header of the answer and
	// until its end.
	HeaderMS int64 `json:"header_ms"`
	TookMS   int64 `json:"took_ms"`
	// Browser is what a script of a page can read of the answer. It is absent if the
	// request was not sent as a page sends it.
	Browser *Reading `json:"browser,omitempty"`
}

// Field is a header field line.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Reading is what a script can read of an answer (Fetch standard, CORS).
type Reading struct {
	// Allowed is true if the script can read the status and the body.
	Allowed bool `json:"allowed"`
	// Why is the reason if Allowed is false.
	Why string `json:"why,omitempty"`
	// Headers are the fields of the answer that the script can read. Hidden are those
	// that MCP clients need and that it cannot read.
	Headers []string `json:"headers,omitempty"`
	Hidden  []string `json:"hidden,omitempty"`
}

// Finding says how well a server meets one rule.
type Finding struct {
	// Rule is the ID of the rule; rules.Rules has them all.
	Rule  string `json:"rule"`
	Level Level  `json:"level"`
	// Text describes what was seen.
	Text string `json:"text"`
	// Short says in a few words what is wrong. A rule that is met has none.
	Short string `json:"short,omitempty"`
	// Reference is the section of the specification that has the rule.
	Reference string `json:"reference"`
	// Cures are the ways to fix it, the likeliest first. A rule that is met has none.
	Cures []Cure `json:"cures,omitempty"`

	// Facts are the observations that the cures depend on.
	Facts Facts `json:"-"`
}

// Facts are observations, by the names in package rules. Some fill the texts of cures.
// The others are conditions: a value that is not empty means that the condition holds.
type Facts map[string]string

// Cure is one way to fix what is wrong.
type Cure struct {
	// Where says what to change: "Caddyfile", "server", "authorization
	// server", "network" or "command line".
	Where string `json:"where"`
	Text  string `json:"text"`
}

// Difference is something that a client sees differently at the URL and at the upstream.
type Difference struct {
	Step string `json:"step"`
	// What names the thing that is compared.
	What string `json:"what"`
	// Front and Upstream are the two values.
	Front    string `json:"front"`
	Upstream string `json:"upstream"`
	// Meant is true if the difference does not harm clients at the front. A bridge
	// makes such differences on purpose.
	Meant bool `json:"meant"`
}

// Add records a finding.
func (s *Step) Add(f Finding) {
	s.Findings = append(s.Findings, f)
	s.Level = worse(s.Level, f.Level)
}

// AboutPages reports whether a finding is about web pages only.
func (f *Finding) AboutPages() bool {
	group, name, _ := strings.Cut(f.Rule, ".")
	return group == "preflight" || group == "cors" || group == "browser" || name == "browser" || f.Rule == "endpoint.origin"
}

// Judge computes the verdict from the findings. lost is true if the server was not
// reached. works is a sentence that says what works, for the case that nothing fails.
func (r *Report) Judge(lost bool, works string) {
	v := &r.Verdict
	var fail, warn *Finding
	var failStep, warnStep string
	for _, s := range r.Steps {
		for i := range s.Findings {
			f := &s.Findings[i]
			switch f.Level {
			case Fail:
				v.Fails++
				if fail == nil {
					fail, failStep = f, s.ID
				}
			case Warn:
				v.Warnings++
				if warn == nil || warn.AboutPages() && !f.AboutPages() {
					warn, warnStep = f, s.ID
				}
			}
		}
	}
	switch {
	case fail != nil:
		v.State, v.Step, v.Finding, v.Text = Broken, failStep, fail, fail.Text
		if lost {
			v.State = Unreachable
		}
		return
	case warn != nil:
		v.Step, v.Finding = warnStep, warn
	}
	v.State, v.Text = Healthy, works
}

// Skip records why the step is skipped.
func (s *Step) Skip(why string) { s.Why = why }

// Hides reports whether the answer has a field that a page cannot read.
func (r *Reading) Hides(name string) bool { return r != nil && slices.Contains(r.Hidden, name) }

// StatusText returns a status with its usual text, as in 404 Not Found.
func StatusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// OrWord returns the first 100 characters of a text, or another text if it is empty.
func OrWord(text, other string) string {
	if text == "" {
		return other
	}
	return fmt.Sprintf("%.100s", text)
}
