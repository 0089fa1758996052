package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// facade is the server of one session as a client with a handshake sees it. A server
// that knows initialize is passed through. For one that refuses it, and answers
// server/discover, the facade does the handshake and translates (MCP specification
// 2026-07-28, "Compatibility Matrix": a legacy client and a modern server).
type facade struct {
	Peer
	session *session
	poster  poster        // the peer, where it speaks HTTP; else nil
	era     atomic.Uint32 // an era; unknown until initialize is answered

	mu sync.Mutex
	// first is the client's initialize, while the server has not answered it; sending
	// says that it is on its way, and refused is the answer that has come meanwhile.
	first   *message.Message
	sending bool
	refused *message.Message

	client envelope  // what each request says of the client
	server handshake // as server/discover has it
	fields toolFields

	next     int                     // number of the last request, in either direction
	errands  map[message.Key]*errand // at the server, by the id there
	relayed  map[message.Key]*errand // of the client, by the id that it has given them
	inputs   map[message.Key]*errand // that the client is asked for, by the id of that
	listener listener
}

func newFacade(s *session, peer Peer) *facade {
	f := &facade{Peer: peer, session: s}
	f.poster, _ = peer.(poster)
	return f
}

// refusesInitialize reports whether the endpoint's server is known to refuse
// initialize.
func (h *Hub) refusesInitialize() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refuses
}

// learn notes whether the endpoint's server refuses initialize (MCP specification
// 2026-07-28, "Backward Compatibility with Initialization-Based Versions": the era is
// the server's, and is asked for again where what is known fails).
func (h *Hub) learn(refuses bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuses = refuses
	if refuses && !h.cfg.Remote {
		h.era = eraStateless
	}
}

// Send implements [Peer].
func (f *facade) Send(from *http.Request, frame []byte) error {
	known := era(f.era.Load())
	if known == eraHandshake {
		return f.Peer.Send(from, frame)
	}
	m, err := message.Parse(frame)
	switch {
	case err != nil:
		return err
	case known == eraStateless:
		return f.say(from, m)
	case m.Kind != message.Request || m.Method != "initialize":
		return f.Peer.Send(from, frame)
	case f.session.hub.refusesInitialize():
		return f.shakeHands(from, m, f.session.hub.cfg.StartTimeout, func(from *http.Request) error {
			f.session.hub.learn(false)
			return f.initialize(from, m)
		})
	}
	return f.initialize(from, m)
}

// initialize has the server answer initialize itself, which costs one that does
// nothing more than without the facade.
func (f *facade) initialize(from *http.Request, m message.Message) error {
	f.mu.Lock()
	f.first, f.refused, f.sending = &m, nil, true
	f.mu.Unlock()
	err := f.Peer.Send(from, m.Raw)
	f.mu.Lock()
	refused := f.refused
	f.refused, f.sending = nil, false
	f.mu.Unlock()
	refusal, _ := errors.AsType[*Refusal](err)
	switch {
	case refused != nil:
		return f.shakeHands(from, m, f.within(), func(*http.Request) error {
			f.session.hand(*refused, "", nil)
			return nil
		})
	case refusal != nil && !refusal.ofAnyRequest() && refusal.Status < http.StatusInternalServerError:
		return f.shakeHands(from, m, f.within(), func(*http.Request) error { return err })
	}
	return err
}

// take takes a message of the server's. It returns false where the client is to have
// it as it is.
func (f *facade) take(m message.Message) bool {
	switch era(f.era.Load()) {
	case eraHandshake:
		return false
	case eraStateless:
		f.hear(m)
		return true
	}
	if m.Kind != message.Response {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.first
	switch e := f.errands[m.ID]; {
	case first != nil && m.ID == first.ID:
	case e != nil:
		delete(f.errands, m.ID)
		e.then(m)
		return true
	default:
		return false
	}
	f.first = nil
	switch {
	case !m.Failed:
		f.era.Store(uint32(eraHandshake))
		return false
	case refusalOf(f.Peer) != nil: // it is not the server's own
		return false
	case f.sending:
		f.refused = &m
	default:
		// Not here: the server is not read from meanwhile.
		go func() {
			err := f.shakeHands(nil, *first, f.within(), func(*http.Request) error {
				f.session.hand(m, "", nil)
				return nil
			})
			if err != nil {
				refusal, _ := errors.AsType[*Refusal](err)
				f.session.hand(m, "", refusal)
			}
		}()
	}
	return true
}

// shakeHands answers initialize from what the server says to server/discover. What
// otherwise does answers it where the server knows that no better. A server that judges
// requests judges this one: an error is its refusal. Others are not waited for.
func (f *facade) shakeHands(from *http.Request, first message.Message, within time.Duration, otherwise func(*http.Request) error) error {
	if f.poster != nil {
		return f.discover(from, first, within, otherwise)
	}
	go func() {
		if err := f.discover(nil, first, within, otherwise); err != nil {
			f.reply(first, lostAnswer(first, "the server does not answer"))
		}
	}()
	return nil
}

// within bounds how long a server that refuses initialize may take to answer
// server/discover: its refusal has to arrive in time.
func (f *facade) within() time.Duration {
	return min(askWithin, f.session.hub.cfg.StartTimeout/2)
}

func (f *facade) discover(from *http.Request, first message.Message, within time.Duration, otherwise func(*http.Request) error) error {
	client := envelope{
		capabilities: message.Get(first.Raw, "params", "capabilities"),
		client:       message.Get(first.Raw, "params", "clientInfo"),
	}
	if len(client.capabilities) == 0 || client.capabilities[0] != '{' {
		client.capabilities = []byte("{}")
	}
	if len(client.client) == 0 || client.client[0] != '{' {
		client.client = nil
	}
	f.mu.Lock()
	f.client = client
	f.mu.Unlock()
	answer, err := f.ask(from, "server/discover", nil, within)
	if isOfAnyRequest(err) || errors.Is(err, errPeerEnded) {
		return err
	}
	var versions []string
	result := message.Get(answer.Raw, "result")
	if err != nil || json.Unmarshal(message.Get(result, "supportedVersions"), &versions) != nil || !slices.Contains(versions, statelessVersion) {
		return otherwise(from)
	}
	f.mu.Lock()
	f.server = handshake{
		capabilities: message.Get(result, "capabilities"),
		info:         message.Get(result, "_meta", metaServer),
		instructions: message.Get(result, "instructions"),
	}
	f.mu.Unlock()
	f.session.hub.learn(true)
	f.era.Store(uint32(eraStateless))
	f.reply(first, message.Result(first.RawID, f.server.initialized(first.Version)))
	return nil
}

// initialized is what the server would answer to initialize.
func (s *handshake) initialized(version string) []byte {
	if !slices.Contains(handshakeVersions, version) {
		version = handshakeVersions[len(handshakeVersions)-1]
	}
	result := []byte(`{"protocolVersion":"` + version + `","capabilities":{},"serverInfo":{"name":"unnamed","version":"0"}}`)
	if s.capabilities != nil {
		result = message.Set(result, s.capabilities, "capabilities")
	}
	if s.info != nil {
		result = message.Set(result, s.info, "serverInfo")
	}
	if s.instructions != nil {
		result = message.Set(result, s.instructions, "instructions")
	}
	return result
}

// Check implements checker: what the server does not get itself is preceded by a
// question with the same credentials, where it judges requests.
func (f *facade) Check(from *http.Request) error {
	if era(f.era.Load()) != eraStateless {
		if peer, ok := f.Peer.(checker); ok {
			return peer.Check(from)
		}
		return nil
	}
	if f.poster == nil || from == nil {
		return nil
	}
	_, err := f.ask(from, "server/discover", nil, askWithin)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &Refusal{Status: http.StatusGatewayTimeout}
	}
	return err
}

// reply answers a request of the client's.
func (f *facade) reply(m message.Message, raw []byte) {
	f.session.hand(message.Message{Raw: raw, Kind: message.Response, ID: m.ID, RawID: m.RawID}, "", nil)
}
