package stats

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// Rule F2, G: the last challenges are remembered, each kind once with how often and
// when, and no more than there is room for.
func TestMemoryOfChallenges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, begun := NewMemory(), time.Now()
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		refuse := func(line string) *Outcome {
			return &Outcome{Action: ActionRelayed, Reason: ReasonForeign, Status: 401, Given: 401, Sent: []string{line}, Lines: []string{line}}
		}
		m.Challenged(r, refuse(`Bearer realm="a"`))
		m.Challenged(r, refuse(`Bearer realm="b"`))
		time.Sleep(time.Minute)
		m.Challenged(r, refuse(`Bearer realm="a"`))
		m.Challenged(r, refuse(`DPoP nonce="1"`))
		m.Challenged(r, refuse(`DPoP nonce="2"`))
		got := m.Challenges()
		if len(got) != 3 || got[0].Sent[0] != `DPoP nonce="[redacted]"` || got[0].Count != 2 ||
			got[1].Sent[0] != `Bearer realm="a"` || got[1].Count != 2 || !got[1].First.Equal(begun) || !got[1].Last.Equal(begun.Add(time.Minute)) ||
			got[2].Count != 1 || got[2].Method != "POST" {
			t.Fatalf("got %+v", got)
		}
		again := refuse(`Bearer realm="a"`)
		m.Challenged(r, again)
		if scheme, code := again.Kind(); scheme != "bearer" || code != "none" {
			t.Errorf("a challenge that is remembered is of kind %s %s", scheme, code)
		}
		// What the client got, the method and the reason tell challenges apart.
		other := refuse(`Bearer realm="a"`)
		other.Lines = []string{`Bearer realm="z"`}
		m.Challenged(r, other)
		m.Challenged(httptest.NewRequest("BREW", "/mcp", nil), refuse(`Bearer realm="a"`))
		if got := m.Challenges(); len(got) != 5 || got[0].Method != "OTHER" {
			t.Errorf("got %d, %+v", len(got), got[0])
		}
		for i := range 10 * maxChallenges {
			m.Challenged(r, refuse(fmt.Sprintf(`Bearer realm="%d %s"`, i, strings.Repeat("x ", 10*safetext.MaxLine))))
		}
		got = m.Challenges()
		total := 0
		for _, c := range got {
			total += len(c.Sent[0]) + len(c.Lines[0])
		}
		if len(got) != maxChallenges || total > 3*maxChallenges*safetext.MaxLine || !strings.Contains(got[0].Sent[0], fmt.Sprint(10*maxChallenges-1)) {
			t.Errorf("%d are kept, of %d bytes", len(got), total)
		}
	})
}

// A bare 401 is not taken for one whose lines are too long to compare.
func TestMemoryTellsLongFromNone(t *testing.T) {
	m := NewMemory()
	o := Outcome{Action: ActionInserted, Status: 401, Given: 401}
	long := o
	long.Sent = []string{"Basic realm=" + strings.Repeat("x", 2*safetext.MaxLine)}
	m.Challenged(nil, &long)
	m.Challenged(nil, &o)
	if n := len(m.Challenges()); n != 2 {
		t.Errorf("%d are remembered", n)
	}
}

// Rule F2, G: refused origins are remembered with counts, without what is no origin;
// the one that was not seen for longest gives way.
func TestMemoryOfOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for i := range maxOrigins {
			m.Refused(fmt.Sprintf("https://%d.example.com", i), "mcp.example.com")
			time.Sleep(time.Second)
		}
		m.Refused("https://0.example.com", "mcp.example.com")
		m.Refused("https://user:pw@x.example.com/p?token=1", "h@h?x=1")
		m.Refused("\xff"+strings.Repeat("x", 10*maxAddress), "")
		got := m.Origins()
		if len(got) != maxOrigins || got[0].Origin != "https://0.example.com" || got[0].Count != 2 {
			t.Fatalf("got %d, %+v", len(got), got[0])
		}
		for _, o := range got {
			if strings.ContainsAny(o.Origin+o.Host, "@?") || len(o.Origin) > maxAddress+3 || o.Origin == "https://1.example.com" {
				t.Errorf("got %+v", o)
			}
		}
	})
}

// Rule F2: a new refused origin takes the place of one alone, in whatever order the
// others were seen last.
func TestMemoryOfOriginsForgetsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		origin := func(i int) string { return fmt.Sprintf("https://%d.example.com", i) }
		for i := range maxOrigins {
			m.Refused(origin(i), "")
		}
		for i := range maxOrigins - 1 {
			time.Sleep(time.Second)
			m.Refused(origin(maxOrigins-1-i), "")
		}
		m.Refused("https://new.example.com", "")
		got := m.Origins()
		if len(got) != maxOrigins {
			t.Errorf("%d are remembered, want %d", len(got), maxOrigins)
		}
		for _, o := range got {
			if o.Origin == origin(0) {
				t.Errorf("%s was not seen for longest", o.Origin)
			}
		}
	})
}

// Rule F2: counts since the load are the load's; those since the start go on over
// loads, with what is still under way of an old one.
func TestMemoryOverLoads(t *testing.T) {
	m, first, second := NewMemory(), NewCounts(), NewCounts()
	m.Attach(first)
	first.Begin()
	first.End("POST", 200, time.Second, 10, 20)
	first.Begin() // it goes on
	m.Attach(second)
	m.Detach(first)
	second.Begin()
	second.End("BREW", 503, time.Minute, -1, 0)
	sum := func() string {
		total, now := m.Totals()
		var b strings.Builder
		fmt.Fprintf(&b, "%d:", now.Requests)
		total.Requests(func(method, class string, h Histogram) {
			fmt.Fprintf(&b, " %s %s %d %v", method, class, h.Count, h.Sum)
		})
		received, sent := total.Bytes()
		fmt.Fprintf(&b, " %d %d", received, sent)
		return b.String()
	}
	for range 2 {
		if got, want := sum(), "1: POST 2xx 1 1s OTHER 5xx 1 1m0s 10 20"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	first.End("GET", 404, time.Hour, 0, 0)
	for range 2 {
		if got, want := sum(), "0: GET 4xx 1 1h0m0s POST 2xx 1 1s OTHER 5xx 1 1m0s 10 20"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if len(m.loads) != 1 {
		t.Errorf("%d loads are kept", len(m.loads))
	}
	var load strings.Builder
	second.Totals().Requests(func(method, class string, h Histogram) { fmt.Fprint(&load, method, class, h.Count) })
	if load.String() != "OTHER5xx1" {
		t.Errorf("the load has %s", load.String())
	}
}

// Durations are counted where Prometheus expects them.
func TestHistograms(t *testing.T) {
	c := NewCounts()
	for _, d := range []time.Duration{0, 5 * time.Millisecond, 6 * time.Millisecond, 300 * time.Second, time.Hour} {
		c.Begin()
		c.End("POST", 200, d, 0, 0)
	}
	c.Totals().Requests(func(_, _ string, h Histogram) {
		if h.Count != 5 || h.Below[0] != 2 || h.Below[1] != 3 || h.Below[len(h.Below)-1] != 4 || h.Sum != time.Hour+300*time.Second+11*time.Millisecond {
			t.Errorf("got %+v", h)
		}
	})
}

// Streams are known while they are open, with the age of the oldest.
func TestOpenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCounts()
		all := make([]Stream, 4)
		for i := range all {
			all[i].Begun = time.Now()
			c.StreamOpened(&all[i])
			time.Sleep(time.Second)
		}
		begun := all[0].Begun
		for _, step := range []struct{ closed, open, oldest int }{{1, 3, 0}, {0, 2, 2}, {3, 1, 2}, {2, 0, -1}} {
			c.StreamClosed(&all[step.closed])
			now := c.Now()
			want := time.Time{}
			if step.oldest >= 0 {
				want = begun.Add(time.Duration(step.oldest) * time.Second)
			}
			if now.Streams != step.open || !now.Oldest.Equal(want) {
				t.Errorf("after %d: got %+v, want %d since %v", step.closed, now, step.open, want)
			}
		}
		if c.oldest != nil || c.newest != nil || c.Totals().Streams().Count != 4 {
			t.Errorf("streams are kept: %+v", c.Now())
		}
	})
}

// What is counted of a challenge that is remembered allocates nothing.
func TestCountingAllocatesNothing(t *testing.T) {
	m, c := NewMemory(), NewCounts()
	r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	sent, lines := []string{`Bearer error="invalid_token"`}, []string{`Bearer error="invalid_token", resource_metadata="https://mcp.example.com/x"`}
	o := &Outcome{Action: ActionAdded, Status: 401, Given: 401, Sent: sent, Lines: lines}
	m.Challenged(r, o)
	if n := testing.AllocsPerRun(100, func() {
		o.scheme, o.code = "", ""
		c.Begin()
		m.Challenged(r, o)
		c.Challenged(o)
		c.Refused()
		c.End("POST", 401, time.Millisecond, 1, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
