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

// handshake is what a server that begins with initialize has said of itself. The
// bridge shows it as a stateless one.
type handshake struct {
	translate.Server
}

// answerError is an error that a server has answered with.
type answerError struct{ raw []byte }

func (e *answerError) Error() string {
	return "server answers with an error: " + message.Text(e.raw, "error", "message")
}

// shakeHands initializes a server in the name of a request's client.
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

// discover is what the server would answer to server/discover. Nothing of it may be
// kept: the bridge learns of no change.
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

// signed adds who the server is to a result.
func (s *handshake) signed(result []byte) []byte {
	if s.Info == nil {
		return result
	}
	return message.Add(result, s.Info, "_meta", mcp.MetaServer)
}

// translate makes an answer one of a stateless server. What it has already stays.
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

// strip takes what only stateless servers read out of a message.
func strip(m message.Message) message.Message {
	for _, name := range []string{mcp.MetaVersion, mcp.MetaClient, mcp.MetaCapabilities, mcp.MetaLogLevel} {
		m = m.Remove("params", "_meta", name)
	}
	if string(m.Get("params", "_meta")) == "{}" {
		m = m.Remove("params", "_meta")
	}
	return m.Remove("params", "inputResponses").Remove("params", "requestState")
}

// wantLevel has the server log what a request wants to read, if it does not already.
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
			c.level = before // it is to be asked again
		}
		c.out.Unlock()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // what is logged may be less than wanted
	}
	return err
}

// discoverEra asks a server whether it is stateless, in the bridge's own name: what it
// says is for all clients.
func (c *server) discoverEra(ctx context.Context, r *http.Request) (found translate.Era, answered bool) {
	within, cancel := context.WithTimeout(ctx, translate.AskWithin)
	defer cancel()
	answer, err := c.ask(within, r, "server/discover", bridgeEnvelope.Params())
	if err == nil && isStatelessAnswer(answer) {
		return translate.Stateless, true
	}
	return translate.Handshake, err == nil
}
