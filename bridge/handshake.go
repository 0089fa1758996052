package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// handshake is what a server that begins with initialize has said of itself. The
// bridge shows it as a stateless one.
type handshake struct {
	version      string
	capabilities []byte // as written; nil: it did not say
	info         []byte // as written; nil: it did not say
	instructions []byte // as written; nil: there are none
}

// answerError is an error that a server has answered with.
type answerError struct{ raw []byte }

func (e *answerError) Error() string {
	return "server answers with an error: " + message.Text(e.raw, "error", "message")
}

// shakeHands initializes a server in the name of a request's client.
func (c *conversation) shakeHands(ctx context.Context, r *http.Request, e *envelope) (*handshake, error) {
	params := []byte(`{"protocolVersion":"` + handshakeVersions[len(handshakeVersions)-1] + `"}`)
	client := e.client
	if client == nil {
		client = []byte(`{"name":"unnamed","version":"0"}`)
	}
	params = message.Set(message.Set(params, client, "clientInfo"), e.capabilities, "capabilities")
	answer, err := c.ask(ctx, r, "initialize", params)
	if err != nil {
		return nil, err
	}
	result := message.Get(answer, "result")
	if result == nil {
		return nil, &answerError{answer}
	}
	server := &handshake{
		version:      message.Text(result, "protocolVersion"),
		capabilities: message.Get(result, "capabilities"),
		info:         message.Get(result, "serverInfo"),
		instructions: message.Get(result, "instructions"),
	}
	return server, c.peer.Send(r, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
}

// has reports whether a server has a capability.
func (s *handshake) has(path ...string) bool {
	value := message.Get(s.capabilities, path...)
	return value != nil && string(value) != "false" && string(value) != "null"
}

// discover is what the server would answer to server/discover. Nothing of it may be
// kept: the bridge learns of no change.
func (s *handshake) discover() []byte {
	versions, _ := json.Marshal(servedVersions()) // it does not fail
	result := []byte(`{"resultType":"complete","supportedVersions":` + string(versions) + `,"capabilities":{},"ttlMs":0,"cacheScope":"private"}`)
	if s.capabilities != nil {
		result = message.Set(result, s.capabilities, "capabilities")
	}
	if s.instructions != nil {
		result = message.Set(result, s.instructions, "instructions")
	}
	return s.signed(result)
}

// signed adds who the server is to a result.
func (s *handshake) signed(result []byte) []byte {
	if s.info == nil {
		return result
	}
	return message.Add(result, s.info, "_meta", metaServer)
}

// cacheable are the requests whose results say how long they may be kept (MCP
// specification 2026-07-28, "Caching").
var cacheable = map[string]bool{
	"tools/list": true, "prompts/list": true, "resources/list": true, "resources/templates/list": true, "resources/read": true,
}

// removed are the methods that a stateless server does not know.
var removed = map[string]bool{
	"initialize": true, "ping": true, "logging/setLevel": true, "resources/subscribe": true, "resources/unsubscribe": true,
	"notifications/initialized": true, "notifications/roots/list_changed": true, "notifications/cancelled": true,
}

// translate makes an answer one of a stateless server. What it has already stays.
func (s *handshake) translate(method string, raw []byte) []byte {
	if result := message.Get(raw, "result"); result != nil {
		if result[0] != '{' {
			return raw
		}
		result = message.Add(result, []byte(`"complete"`), "resultType")
		if cacheable[method] {
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
func strip(raw []byte) []byte {
	for _, name := range []string{metaVersion, metaClient, metaCapabilities, metaLogLevel} {
		raw = message.Remove(raw, "params", "_meta", name)
	}
	if string(message.Get(raw, "params", "_meta")) == "{}" {
		raw = message.Remove(raw, "params", "_meta")
	}
	raw = message.Remove(raw, "params", "inputResponses")
	return message.Remove(raw, "params", "requestState")
}

// wantLevel has the server log what a request wants to read, if it does not already.
func (c *conversation) wantLevel(ctx context.Context, r *http.Request, level string) error {
	rank := levelOf(level)
	c.mu.Lock()
	before := c.level
	enough := level == "" || rank >= before || rank == len(logLevels)
	if !enough && c.server.has("logging") {
		c.level = rank
	}
	c.mu.Unlock()
	if enough || !c.server.has("logging") {
		return nil
	}
	params, err := json.Marshal(map[string]string{"level": level})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	_, err = c.ask(ctx, r, "logging/setLevel", params)
	if err != nil {
		c.mu.Lock()
		if c.level == rank {
			c.level = before // it is to be asked again
		}
		c.mu.Unlock()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // what is logged may be less than wanted
	}
	return err
}

// notified takes what the server says of a change to those who listen for it. The
// conversation is locked.
func (s *handshake) notified(c *conversation, m message.Message) {
	for k, f := range c.listens {
		if f.wants(m) {
			k.add(event{raw: message.Set(m.Raw, k.clientID, "params", "_meta", metaSubscription)})
		}
	}
}
