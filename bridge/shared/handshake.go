package shared

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
)

// handshake is the result of initialize of a server that is not stateless. The bridge answers
// clients as a stateless server with these capabilities would.
type handshake struct {
	translate.Server
}

// answerError is an error response of a server.
type answerError struct{ raw []byte }

func (e *answerError) Error() string {
	return "server answers with an error: " + message.Text(e.raw, "error", "message")
}

// shakeHands initializes a server, with the capabilities and the clientInfo of a request's client.
func (c *server) shakeHands(ctx context.Context, r *http.Request, e *envelope) (*handshake, error) {
	params := []byte(`{"protocolVersion":"` + mcp.HandshakeRevisions[len(mcp.HandshakeRevisions)-1] + `"}`)
	client := e.Info
	if client == nil {
		client = []byte(`{"name":"unnamed","version":"0"}`)
	}
	params = message.Set(message.Set(params, client, "clientInfo"), e.Capabilities, "capabilities")
	answer, err := c.ask(ctx, r, "initialize", params)
	if err != nil {
		return nil, err
	}
	result := message.Get(answer, "result")
	if result == nil {
		return nil, &answerError{answer}
	}
	server := &handshake{translate.Server{
		Version:      message.Text(result, "protocolVersion"),
		Capabilities: message.Get(result, "capabilities"),
		Info:         message.Get(result, "serverInfo"),
		Instructions: message.Get(result, "instructions"),
	}}
	return server, c.peer.Send(r, message.NewNotification("notifications/initialized", nil))
}

// discover returns the result of server/discover. Clients must not cache it, because the bridge
// does not notice when the server changes.
func (s *handshake) discover() []byte {
	versions, _ := json.Marshal(mcp.ServedRevisions()) // it does not fail
	result := []byte(`{"resultType":"complete","supportedVersions":` + string(versions) + `,"capabilities":{},"ttlMs":0,"cacheScope":"private"}`)
	if s.Capabilities != nil {
		result = message.Set(result, s.Capabilities, "capabilities")
	}
	if s.Instructions != nil {
		result = message.Set(result, s.Instructions, "instructions")
	}
	return s.signed(result)
}

// signed adds the serverInfo of the server to a result.
func (s *handshake) signed(result []byte) []byte {
	if s.Info == nil {
		return result
	}
	return message.Add(result, s.Info, "_meta", mcp.MetaServer)
}

// translate turns a response into that of a stateless server: it adds the members that the server
// has not set, and replaces error codes that such servers do not use.
func (s *handshake) translate(method string, raw []byte) []byte {
	if result := message.Get(raw, "result"); result != nil {
		if result[0] != '{' {
			return raw
		}
		result = message.Add(result, []byte(`"complete"`), "resultType")
		if mcp.IsCacheable(method) {
			result = message.Add(result, []byte("0"), "ttlMs")
			result = message.Add(result, []byte(`"private"`), "cacheScope")
		}
		return message.Set(raw, s.signed(result), "result")
	}
	switch string(message.Get(raw, "error", "code")) {
	case strconv.Itoa(message.CodeResourceNotFound):
		return message.Set(raw, []byte(strconv.Itoa(message.CodeInvalidParams)), "error", "code")
	case strconv.Itoa(message.CodeElicitationRequired):
		return message.Set(raw, []byte(strconv.Itoa(message.CodeInternal)), "error", "code")
	}
	return raw
}

// strip removes the members of a message that only stateless servers know.
func strip(m message.Message) message.Message {
	for _, name := range []string{mcp.MetaVersion, mcp.MetaClient, mcp.MetaCapabilities, mcp.MetaLogLevel} {
		m = m.Remove("params", "_meta", name)
	}
	if string(m.Get("params", "_meta")) == "{}" {
		m = m.Remove("params", "_meta")
	}
	return m.Remove("params", "inputResponses").Remove("params", "requestState")
}

// wantLevel lowers the log level of the server (logging/setLevel) to that of a request, if it is
// higher.
func (c *server) wantLevel(ctx context.Context, r *http.Request, level string) error {
	rank := mcp.LevelOf(level)
	c.out.Lock()
	before := c.level
	enough := level == "" || rank >= before || rank == mcp.UnknownLevel
	if !enough && c.handshake.Has("logging") {
		c.level = rank
	}
	c.out.Unlock()
	if enough || !c.handshake.Has("logging") {
		return nil
	}
	params, err := json.Marshal(map[string]string{"level": level})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, translate.AskWithin)
	defer cancel()
	_, err = c.ask(ctx, r, "logging/setLevel", params)
	if err != nil {
		c.out.Lock()
		if c.level == rank {
			c.level = before // so that the next request asks again
		}
		c.out.Unlock()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // the request goes on, perhaps with fewer log messages
	}
	return err
}

// discoverEra finds out whether a server is stateless, with a server/discover of the bridge itself,
// because the result counts for all clients. answered is false if the server has not answered
// within [translate.AskWithin].
func (c *server) discoverEra(ctx context.Context, r *http.Request) (found translate.Era, answered bool) {
	within, cancel := context.WithTimeout(ctx, translate.AskWithin)
	defer cancel()
	answer, err := c.ask(within, r, "server/discover", bridgeEnvelope.Params())
	if err == nil && isStatelessAnswer(answer) {
		return translate.Stateless, true
	}
	return translate.Handshake, err == nil
}
