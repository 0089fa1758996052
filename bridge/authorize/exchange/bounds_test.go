package exchange

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/recent"
)

// E6: requests that bring one token at the same time ask once, and all get the answer, whoever
// of them leaves. Those that come later get it without a question.
func TestStampedeAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokenServer{status: 200, body: usable, held: make(chan struct{})}
		x := newExchanger(t, s)
		p := alice(time.Now().Add(time.Hour))
		leaving, leave := context.WithCancel(t.Context())
		first := make(chan *principal.Refusal)
		go func() {
			_, _, refusal := x.Token(leaving, p, "theirs")
			first <- refusal
		}()
		synctest.Wait()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got, _, refusal := x.Token(t.Context(), p, "theirs"); got != "new-1" {
					t.Errorf("got %q, %v", got, refusal)
				}
			})
		}
		synctest.Wait()
		leave() // the request that has asked
		if refusal := <-first; refusal == nil || refusal.Code != principal.Unavailable {
			t.Errorf("a request that has ended: got %v", refusal)
		}
		close(s.held)
		all.Wait()
		if got, _, _ := x.Token(t.Context(), p, "theirs"); got != "new-1" || s.asked() != 1 {
			t.Errorf("got %q after %d questions", got, s.asked())
		}
		if got, _, _ := x.Token(t.Context(), p, "another"); got != "new-2" {
			t.Errorf("another token: got %q", got)
		}
		other := *p
		other.Issuer = "https://other.example.com"
		if _, _, refusal := x.Token(t.Context(), &other, "theirs"); refusal == nil || refusal.Code != principal.IssuerFault {
			t.Errorf("an issuer that is not configured: got %v", refusal)
		}
	})
}

// E6, G: tokens are kept within a bound of bytes, whatever their length.
func TestTokensAreBounded(t *testing.T) {
	const length, bound, tokens = 8 << 10, 256 << 10, 100
	s := &tokenServer{status: 200, body: `{"access_token":"` + strings.Repeat("a", length) + `","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`}
	x := newExchanger(t, s)
	x.cache = recent.New[entry](maxRemembered, bound)
	kept := 0
	for n := range tokens {
		if _, _, refusal := x.Token(t.Context(), alice(time.Time{}), fmt.Sprint(n)); refusal != nil {
			t.Fatal(refusal)
		}
	}
	for n := range tokens {
		if _, ok := x.known(recent.Of(fmt.Sprint(n), issuer)); ok {
			kept++
		}
	}
	if kept == 0 || kept*length > bound {
		t.Errorf("%d tokens are kept", kept)
	}
}

// G: at most 32 tokens are exchanged at once; others wait for one that ends.
func TestExchangesAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 8
		s := &tokenServer{status: 200, body: usable, held: make(chan struct{})}
		x := newExchanger(t, s)
		refusals := make(chan *principal.Refusal, maxInProgress+more)
		for n := range maxInProgress + more {
			go func() {
				_, _, refusal := x.Token(t.Context(), alice(time.Time{}), fmt.Sprint("theirs", n))
				refusals <- refusal
			}()
		}
		synctest.Wait()
		if got := s.asked(); got != maxInProgress {
			t.Errorf("%d questions at once, want %d", got, maxInProgress)
		}
		close(s.held)
		for range maxInProgress + more {
			if refusal := <-refusals; refusal != nil {
				t.Error(refusal)
			}
		}
		if got := s.asked(); got != maxInProgress+more {
			t.Errorf("%d questions in all, want %d", got, maxInProgress+more)
		}
	})
}

// G: a token whose turn does not come is answered as one whose issuer is away. Nothing is
// remembered of that, and the issuer is not to blame.
func TestTooBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokenServer{status: 200, body: usable}
		x := newExchanger(t, s)
		x.cfg.Report = func(of string, err error) { t.Errorf("%s is reported: %v", of, err) }
		for range maxInProgress {
			x.slots <- struct{}{} // the questions of others
		}
		begun := time.Now()
		_, issued, refusal := x.Token(t.Context(), alice(time.Time{}), "theirs")
		if refusal == nil || refusal.Code != principal.Unavailable || refusal.Reason != principal.TooBusy || refusal.RetryAfter != retryAfter || issued != (Issued{}) {
			t.Fatalf("got %+v", refusal)
		}
		if waited := time.Since(begun); waited != 2*fetch.Timeout || s.asked() != 0 {
			t.Errorf("it has waited for %v, and %d questions were asked", waited, s.asked())
		}
		<-x.slots
		if _, _, refusal := x.Token(t.Context(), alice(time.Time{}), "theirs"); refusal != nil || s.asked() != 1 {
			t.Errorf("afterwards: got %v, and %d questions", refusal, s.asked())
		}
	})
}
