package doctor

// Version is that of the report as JSON. It changes when a member is removed
// or means something else; new members do not change it.
const Version = 1

// Level says how a rule is met.
type Level string

// The levels.
const (
	Pass Level = "pass"
	Warn Level = "warn" // some clients have trouble, or will have
	Fail Level = "fail" // clients that follow the specification stop here
	Skip Level = "skip" // of a step: there was nothing to look at
)

// worse returns the worse of two levels.
func worse(a, b Level) Level {
	rank := map[Level]int{Skip: 0, Pass: 1, Warn: 2, Fail: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// State is the outcome of a walk.
type State string

// The states.
const (
	Healthy     State = "healthy"     // perhaps with warnings
	Broken      State = "broken"      // a client stops somewhere
	Unreachable State = "unreachable" // nothing that speaks HTTP was reached
)

// Report is what a walk found.
type Report struct {
	// Version is that of the form of the report.
	Version int `json:"version"`
	// URL is the server's, without its query.
	URL string `json:"url"`
	// Origin is that of the page whose reading was looked at, and OriginAsked
	// says that the caller named it.
	Origin      string `json:"origin"`
	OriginAsked bool   `json:"origin_asked"`
	// Verdict is what to know first.
	Verdict Verdict `json:"verdict"`
	// Steps are in the order of a client.
	Steps []*Step `json:"steps"`
	// Upstream is the walk without what stands in front of the server.
	Upstream *Report `json:"upstream,omitempty"`
	// Differences are those between the two walks.
	Differences []Difference `json:"differences,omitempty"`
}

// Verdict is the cause that comes first on a client's way, and its cure.
type Verdict struct {
	State State `json:"state"`
	// Text is a sentence.
	Text string `json:"text"`
	// Step and Finding are what is wrong first: the first failure, or else
	// the first warning, if any.
	Step    string   `json:"step,omitempty"`
	Finding *Finding `json:"finding,omitempty"`
	// Blame says, where the walk was made without what stands in front too, on
	// which side the finding is: "front" or "server".
	Blame string `json:"blame,omitempty"`
	// Fails and Warnings count the findings.
	Fails    int `json:"fails"`
	Warnings int `json:"warnings"`
}

// Step is one step of a client.
type Step struct {
	// ID is stable, Title is for people.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Level is the worst of the findings.
	Level Level `json:"level"`
	// Why says why the step was skipped.
	Why       string      `json:"why,omitempty"`
	Exchanges []*Exchange `json:"exchanges,omitempty"`
	Findings  []Finding   `json:"findings,omitempty"`
}

// Exchange is one request and its answer.
type Exchange struct {
	// Name is stable within a step.
	Name   string `json:"name"`
	Method string `json:"method"`
	// URL is without query.
	URL string `json:"url"`
	// Sent and Seen are header fields, those that matter; no secret is in them.
	Sent []Field `json:"sent,omitempty"`
	// Status is 0 where no answer came, and Error says why.
	Status int     `json:"status,omitempty"`
	Error  string  `json:"error,omitempty"`
	Seen   []Field `json:"seen,omitempty"`
	// Size is what was read of the body, in bytes; Whole says that it was all.
	Size  int  `json:"size"`
	Whole bool `json:"whole"`
	// Excerpt is the begin of a body that was not understood, or of an error's.
	Excerpt string `json:"excerpt,omitempty"`
	// Milliseconds until the answer's header and until the end.
	HeaderMS int64 `json:"header_ms"`
	TookMS   int64 `json:"took_ms"`
	// Browser is what a script of a page at the report's origin reads of the
	// answer; absent where the request was not made as a page would.
	Browser *Reading `json:"browser,omitempty"`
}

// Field is a header field line.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Reading is what a script can read of an answer (Fetch standard, CORS).
type Reading struct {
	// Allowed says that it reads the status and the body.
	Allowed bool `json:"allowed"`
	// Why says why not.
	Why string `json:"why,omitempty"`
	// Headers are the fields of the answer that it can read, and Hidden those
	// that MCP clients look for and that it cannot.
	Headers []string `json:"headers,omitempty"`
	Hidden  []string `json:"hidden,omitempty"`
}

// Finding is one rule and how it is met.
type Finding struct {
	// Rule names it; Rules has them all.
	Rule  string `json:"rule"`
	Level Level  `json:"level"`
	// Text says what was seen.
	Text string `json:"text"`
	// Reference is where a specification says so.
	Reference string `json:"reference"`
	// Cures mend it, the likeliest first; none where it is met.
	Cures []Cure `json:"cures,omitempty"`
}

// Cure is one way to mend what is wrong.
type Cure struct {
	// Where is the place of the change: "Caddyfile", "server", "authorization
	// server", "network" or "command line".
	Where string `json:"where"`
	Text  string `json:"text"`
}

// Difference is what a client sees with and without what stands in front.
type Difference struct {
	Step string `json:"step"`
	// What is compared.
	What string `json:"what"`
	// Front and Upstream are what was seen.
	Front    string `json:"front"`
	Upstream string `json:"upstream"`
	// Meant says that a client is not worse off in front: a bridge is there to
	// make such differences.
	Meant bool `json:"meant"`
}

// add records a finding.
func (s *Step) add(f Finding) {
	s.Findings = append(s.Findings, f)
	s.Level = worse(s.Level, f.Level)
}

// judge fills the verdict from the steps.
func (r *Report) judge(lost, opened bool) {
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
				if warn == nil {
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
	v.State, v.Text = Healthy, "clients reach the login."
	if opened {
		v.Text = "clients get in, and need no login."
	}
}
