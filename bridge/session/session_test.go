package session

//lint:file-ignore SA1019 what is deprecated is in use, and has to cross

import (
	"context"
	"errors"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Rules D3, D6: a conversation of the SDK's client with the SDK's server, with
// everything that either says.
func TestSessionCarriesAllThatTheSDKsSay(t *testing.T) {
	h, url := kit.ServeHub(t, servers.Config{})
	progress, changed := make(chan float64, 100), make(chan struct{}, 10)
	s := hubtest.ConnectHub(t, url, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return &mcp.CreateMessageResult{Model: "m", Role: "assistant", Content: &mcp.TextContent{Text: "sampled"}}, nil
		},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "decline"}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
			progress <- req.Params.Progress
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed <- struct{}{} },
	})
	if h.Len() != 1 {
		t.Errorf("%d sessions, want 1", h.Len())
	}
	if err := s.Ping(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if tools, err := s.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 5 {
		t.Errorf("got %v, %v", tools, err)
	}
	if got, err := hubtest.CallTool(t.Context(), s, "steps", 20); err != nil || got != "done" {
		t.Errorf("steps: %q, %v", got, err)
	}
	for i := range 20 {
		if got := <-progress; got != float64(i+1) {
			t.Errorf("progress %v, want %d", got, i+1)
		}
	}
	if got, err := hubtest.CallTool(t.Context(), s, "ask", 0); err != nil || got != "sampled decline" {
		t.Errorf("ask: %q, %v", got, err)
	}
	if got, err := hubtest.CallTool(t.Context(), s, "big", 4<<20); err != nil || len(got) != 4<<20 {
		t.Errorf("big: %d bytes, %v", len(got), err)
	}
	if _, err := hubtest.CallTool(t.Context(), s, "grow", 1); err != nil {
		t.Error(err)
	}
	<-changed
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() {
		_, err := hubtest.CallTool(ctx, s, "wait", 0)
		waited <- err
	}()
	if _, err := hubtest.CallTool(t.Context(), s, "steps", 1); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was cancelled ended with %v", err)
	}
	if err := s.Ping(t.Context(), nil); err != nil {
		t.Errorf("after a cancelled call: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if h.Len() != 0 {
		t.Errorf("%d sessions after DELETE", h.Len())
	}
}

// Rule D3: ids of every JSON type, unknown members and methods cross as they are.
func TestBytesOfMessagesStayAsTheyAre(t *testing.T) {
	p, url, id := kit.Script(t, servers.Config{})
	for _, rawID := range []string{`"a"`, `9007199254740993`, `1.5`, `-7`, `"\u0061b"`, `1e2`, `123456789012345678901234567890`, `""`} {
		sent := `{ "x":{"b":1,"a":[1.0,1e5]}, "method":"vendor/odd" ,"id":` + rawID + `,"params":[1,{"method":"y"}],"jsonrpc":"2.0"}`
		answer := `{"id":` + rawID + `,"jsonrpc":"2.0","result":{"n":12345678901234567890,"s":"\u2028"},"_x":null}`
		done := make(chan string)
		go func() {
			_, body := hubtest.ExchangeHub(t, "POST", url, sent, "Mcp-Session-Id", id)
			done <- body
		}()
		if got := <-p.Got; got != sent {
			t.Errorf("the server got %s, want %s", got, sent)
		}
		p.Deliver([]byte(answer))
		if got := <-done; got != answer {
			t.Errorf("the client got %s, want %s", got, answer)
		}
	}
}
