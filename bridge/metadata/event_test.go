package metadata

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
)

// F1: each cause is reported once, without query and userinfo. A failure is reported again
// after a success.
func TestEachCauseIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpstream{answers: answers{atPath: doc(`{"resource":"https://user:secret@evil.test/?token=1"}`)}}
		s, l := newStore(t, u, nil)
		for range 3 {
			s.Known(t.Context(), public)
			s.Known(t.Context(), anyHost(1))
			s.Known(t.Context(), anyHost(2))
			time.Sleep(DefaultTTL)
		}
		want := []Event{
			{Kind: ForeignResource, Endpoint: public.URL(), Value: "https://evil.test/", Option: "challenge origins"},
			{Kind: ForeignResource, Endpoint: anyHost(1).URL(), Value: "https://evil.test/", Option: "challenge origins"},
		}
		if got := l.all(); !slices.Equal(got, want) {
			t.Errorf("reported\n%+v\nwant\n%+v", got, want)
		}
		u.answers = answers{}
		u.fail = map[string]error{atPath: errors.New("x")}
		for range 2 {
			s.Known(t.Context(), public)
			time.Sleep(DefaultTTL)
		}
		u.fail = nil
		s.Known(t.Context(), public)
		time.Sleep(DefaultTTL)
		u.answers = answers{atPath: only(500)}
		s.Known(t.Context(), public)
		u.answers = answers{atPath: doc("[")}
		time.Sleep(DefaultTTL)
		s.Known(t.Context(), public)
		if got, want := l.kinds()[2:], []EventKind{Unavailable, Unavailable, DocumentInvalid}; !slices.Equal(got, want) {
			t.Errorf("reported %q; want %q", got, want)
		}
	})
}

// G: what is remembered of reports is bounded. A hostile upstream cannot make it grow, and
// cannot fill the log.
func TestReportsAreBounded(t *testing.T) {
	reports := 0
	r := &reporter{log: func(Event) { reports++ }}
	for n := range 3000 {
		r.report(public, Event{Kind: ForeignResource, Value: fmt.Sprint(n)})
	}
	if reports != oncelog.Burst {
		t.Errorf("%d reports; want %d", reports, oncelog.Burst)
	}
	reports, r = 0, &reporter{log: r.log}
	for n := range 100 { // hosts and values that requests name
		r.report(anyHost(n), Event{Kind: ForeignResource, Value: fmt.Sprint(n)})
	}
	if reports != 1 {
		t.Errorf("%d reports; want 1", reports)
	}
	(&reporter{}).report(public, Event{Kind: Busy})
}

// F1: no text of an event has a query or userinfo, in any form that a client
// may take for one.
func TestEventsHaveNoQueryAndNoUserinfo(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"https://evil.test/a", "https://evil.test/a"},
		{"https://evil.test/a?token=1#b", "https://evil.test/a"},
		{"https://evil.test#a?b", "https://evil.test"},
		{"https://user:secret@evil.test/a", "https://evil.test/a"},
		{"https://user:secret@evil.test", "https://evil.test"},
		{"https://user:se@cret@evil.test/a@b", "https://evil.test/a@b"},
		{"https:user:secret@evil.test/a", "https:evil.test/a"},
		{"https:/user:secret@evil.test/a", "https:/evil.test/a"},
		{"https:///user:secret@evil.test/a", "https:///evil.test/a"},
		{`https:\\user:secret@evil.test\a`, `https:\\evil.test\a`},
		{`https://user:secret@evil.test\a`, `https://evil.test\a`},
		{"//user:secret@evil.test/a", "//evil.test/a"},
		{`\/user:secret@evil.test/a`, `\/evil.test/a`},
		{"/@scope/a:b@c", "/@scope/a:b@c"},
		{"/a//b@c", "/a//b@c"},
		{"text/html; charset=utf-8", "text/html; charset=utf-8"},
		{"https://a.test/\xff\xfe", "https://a.test/\uFFFD"},
		{strings.Repeat("a", 300), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "é", strings.Repeat("a", 255) + "\uFFFD"},
	} {
		if got := redact(tc.in); got != tc.want {
			t.Errorf("redact(%q) = %q; want %q", tc.in, got, tc.want)
		}
	}
}

// Every kind of event is either forgotten after a success or not, and has a
// name of its own.
func TestEachKindOfEventHasANameOfItsOwn(t *testing.T) {
	for kind, want := range map[EventKind]bool{
		SignedMetadataDropped: false, PrivateAuthorizationServer: false, ForeignResource: false, ForeignMetadataURL: false,
		NotJSON: false, Busy: false, DocumentInvalid: true, RedirectRefused: true, Unavailable: true, PassedOver: false,
	} {
		if got := kind.transient(); got != want {
			t.Errorf("%s is transient: %v; want %v", kind, got, want)
		}
	}
}
