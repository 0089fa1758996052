package translate

import (
	"net/http"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// refusedKeeper is a keeper whose server refuses to send the rest of an answer.
type refusedKeeper struct {
	*keeper
	refusal *upstream.Refusal
}

func (p refusedKeeper) Refusing() *upstream.Refusal { return p.refusal }

// Rules A1, D4: the refusal of the rest of an answer is seen through the translator, and an
// initialize whose answer it ends is not taken for one that the server refuses itself.
func TestRefusalOfTheRestOfAnAnswerIsSeen(t *testing.T) {
	p := refusedKeeper{&keeper{done: make(chan struct{})}, &upstream.Refusal{Status: http.StatusUnauthorized}}
	var causes []*upstream.Refusal
	to, receive := Wrap(Config{Revision: NewServerRevision(true)})(p, func(_ message.Message, _ message.Key, cause *upstream.Refusal) {
		causes = append(causes, cause)
	})
	if got := upstream.RefusalOf(to); got != p.refusal {
		t.Errorf("got %v, want the refusal of the peer", got)
	}
	if err := to.Send(nil, message.NewRequest([]byte("1"), "initialize", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	receive(message.NewError([]byte("1"), message.CodeInternal, "it broke off"), "", upstream.RefusalOf(to))
	if len(causes) != 1 || causes[0] != p.refusal {
		t.Errorf("the client was given %v", causes)
	}
	if m, asked := p.nth(1); asked {
		t.Errorf("the server is asked %s", m.Raw)
	}
}
