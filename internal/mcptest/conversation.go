package mcptest

//lint:file-ignore SA1019 what is deprecated is in use, and has to cross

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// input is what the tools take.
type input struct {
	N    int    `json:"n,omitempty"`
	Text string `json:"text,omitempty"`
}

func text(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

// tool adds a tool.
func tool(s *mcp.Server, name string, do func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, error)) {
	mcp.AddTool(s, &mcp.Tool{Name: name}, func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		res, err := do(ctx, req, in)
		return res, nil, err
	})
}

// asking adds a tool that asks the client for something: by a result, since 2026-07-28,
// else by a request.
func asking(s *mcp.Server, name string, ask func(input) mcp.InputRequest) {
	const key = "input-1"
	tool(s, name, func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
		if got, ok := req.Params.InputResponses[key]; ok {
			return given(got), nil
		}
		if init := req.Session.InitializeParams(); init == nil || init.ProtocolVersion >= loneVersion {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{key: ask(in)}}, nil
		}
		var got mcp.InputResponse
		var err error
		switch params := ask(in).(type) {
		case *mcp.CreateMessageParams:
			got, err = req.Session.CreateMessage(ctx, params)
		case *mcp.ElicitParams:
			got, err = req.Session.Elicit(ctx, params)
		case *mcp.ListRootsParams:
			got, err = req.Session.ListRoots(ctx, params)
		}
		if err != nil {
			return nil, err
		}
		return given(got), nil
	})
}

// given is the result of a tool that has asked.
func given(got mcp.InputResponse) *mcp.CallToolResult {
	switch got := got.(type) {
	case *mcp.CreateMessageResult:
		return text("%s of %s", got.Content.(*mcp.TextContent).Text, got.Model)
	case *mcp.CreateMessageWithToolsResult:
		return text("%s of %s", got.Content[0].(*mcp.TextContent).Text, got.Model)
	case *mcp.ElicitResult:
		return text("%s %v", got.Action, got.Content["name"])
	case *mcp.ListRootsResult:
		return text("%s", got.Roots[0].URI)
	}
	return text("something else")
}

// NewServer returns the server of the conversation.
func NewServer() *mcp.Server {
	noted := func(context.Context, *mcp.SubscribeRequest) error { return nil }
	rooted := make(chan struct{}, 16)
	s := mcp.NewServer(&mcp.Implementation{Name: "talk", Version: "1"}, &mcp.ServerOptions{
		Instructions:       "say anything",
		SubscribeHandler:   noted,
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
		RootsListChangedHandler: func(context.Context, *mcp.RootsListChangedRequest) {
			rooted <- struct{}{}
		},
		CompletionHandler: func(_ context.Context, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{req.Params.Argument.Value + "lo"}}}, nil
		},
	})
	tool(s, "echo", func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
		return text("%s", in.Text), nil
	})
	tool(s, "big", func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
		return text("%s", strings.Repeat("0123456789abcdef", in.N/16)), nil
	})
	tool(s, "fail", func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, error) {
		return nil, &jsonrpc.Error{Code: -31999, Message: "so \"it\" is", Data: []byte(`{"why":[1,2.50,9007199254740993]}`)}
	})
	tool(s, "steps", func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
		for i := range in.N {
			err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
				ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1), Total: float64(in.N), Message: in.Text,
			})
			if err != nil {
				return nil, err
			}
		}
		return text("%d steps", in.N), nil
	})
	tool(s, "log", func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
		for i := range in.N {
			if err := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "warning", Logger: "talk", Data: fmt.Sprintf("%s %d", in.Text, i)}); err != nil {
				return nil, err
			}
		}
		return text("%d lines", in.N), nil
	})
	asking(s, "sample", func(in input) mcp.InputRequest {
		return &mcp.CreateMessageParams{
			MaxTokens: 7, SystemPrompt: in.Text, Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: in.Text}}},
		}
	})
	asking(s, "elicit", func(in input) mcp.InputRequest {
		return &mcp.ElicitParams{
			Message: in.Text, RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}},
		}
	})
	asking(s, "roots", func(input) mcp.InputRequest { return new(mcp.ListRootsParams) })
	tool(s, "length", func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
		return text("%d", len(in.Text)), nil
	})
	tool(s, "pingback", func(ctx context.Context, req *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, error) {
		return text("pong"), req.Session.Ping(ctx, nil)
	})
	tool(s, "rooted", func(ctx context.Context, _ *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, error) {
		select {
		case <-rooted:
			return text("other roots"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	cancelled := make(chan struct{}, 16)
	tool(s, "wait", func(ctx context.Context, req *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, error) {
		err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: 1})
		if err != nil {
			return nil, err
		}
		<-ctx.Done()
		cancelled <- struct{}{}
		return nil, ctx.Err()
	})
	tool(s, "cancelled", func(ctx context.Context, _ *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, error) {
		select {
		case <-cancelled:
			return text("it was cancelled"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	tool(s, "grow", func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, error) {
		tool(s, "grown", func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, error) {
			return text("small"), nil
		})
		return text("grown"), nil
	})
	s.AddResource(&mcp.Resource{Name: "now", URI: "talk://now", MIMEType: "text/plain"},
		func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "talk://now", Text: "now", MIMEType: "text/plain"}}}, nil
		})
	tool(s, "touch", func(ctx context.Context, _ *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, error) {
		if err := s.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: "talk://now"}); err != nil {
			return nil, err
		}
		return text("touched"), nil
	})
	s.AddPrompt(&mcp.Prompt{Name: "hello"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "hello"}}}}, nil
	})
	return s
}

// patience bounds how long what has been sent may take to arrive.
const patience = 30 * time.Second

// transcript is what the client sees, under its lock.
type transcript struct {
	mu      sync.Mutex
	lines   []string
	changed chan struct{}
	// acknowledged has the subscriptions of 2026-07-28 that have begun: the SDK's
	// client does not wait for that.
	acknowledged chan struct{}
}

// subscribed waits until a subscription has begun.
func (t *transcript) subscribed(ctx context.Context, s *mcp.ClientSession) error {
	if s.InitializeResult().ProtocolVersion < loneVersion {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-t.acknowledged:
		return nil
	case <-ctx.Done():
		return errors.New("a subscription is not acknowledged")
	}
}

// watch notes the subscriptions that begin.
func (t *transcript) watch(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		res, err := next(ctx, method, req)
		if method == "notifications/subscriptions/acknowledged" {
			t.acknowledged <- struct{}{}
		}
		return res, err
	}
}

func (t *transcript) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
	close(t.changed)
	t.changed = make(chan struct{})
}

// await waits until n lines begin with prefix.
func (t *transcript) await(ctx context.Context, prefix string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		t.mu.Lock()
		got := 0
		for _, line := range t.lines {
			if strings.HasPrefix(line, prefix) {
				got++
			}
		}
		changed := t.changed
		t.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d %q have arrived", got, n, prefix)
		}
	}
}

// handlers are what the client does when it is asked or told something.
func (t *transcript) handlers() *mcp.ClientOptions {
	return &mcp.ClientOptions{
		CreateMessageHandler: func(_ context.Context, req *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return &mcp.CreateMessageResult{Model: "m", Role: "assistant", Content: &mcp.TextContent{Text: "sampled " + req.Params.SystemPrompt}}, nil
		},
		ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": req.Params.Message + "!"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
			t.add("progress %v: %v of %v %s", req.Params.ProgressToken, req.Params.Progress, req.Params.Total, req.Params.Message)
		},
		LoggingMessageHandler: func(_ context.Context, req *mcp.LoggingMessageRequest) {
			t.add("log %s %s: %v", req.Params.Level, req.Params.Logger, req.Params.Data)
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { t.add("tools changed") },
		ResourceUpdatedHandler: func(_ context.Context, req *mcp.ResourceUpdatedNotificationRequest) {
			t.add("updated %s", req.Params.URI)
		},
		ResourceListChangedHandler: func(context.Context, *mcp.ResourceListChangedRequest) {},
	}
}

// Converse has a client of a protocol version talk over a transport, and returns
// what it has seen. What comes in no order that the protocol promises is sorted.
func Converse(ctx context.Context, over mcp.Transport, version string) ([]string, error) {
	return converse(ctx, over, version, false)
}

// ConverseInSession is Converse over a transport with a session, and what takes one:
// since 2026-07-28 a server asks nothing outside of its answers, is not told of
// roots, and ends subscriptions with their stream.
func ConverseInSession(ctx context.Context, over mcp.Transport) ([]string, error) {
	return converse(ctx, over, "2025-11-25", true)
}

func converse(ctx context.Context, over mcp.Transport, version string, inSession bool) ([]string, error) {
	t := &transcript{changed: make(chan struct{}), acknowledged: make(chan struct{}, 16)}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, t.handlers())
	client.AddRoots(&mcp.Root{Name: "r", URI: "file:///r"})
	client.AddReceivingMiddleware(t.watch)
	s, err := client.Connect(ctx, over, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer s.Close()                              // it is closed below; this is for what goes wrong
	if err := t.subscribed(ctx, s); err != nil { // to changes of lists
		return nil, err
	}
	if inSession {
		client.AddRoots(&mcp.Root{Name: "r2", URI: "file:///r2"})
		t.session(ctx, s)
	}
	if err := t.converse(ctx, s); err != nil {
		return t.lines, err
	}
	if err := s.Close(); err != nil {
		return t.lines, fmt.Errorf("closing: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.lines, func(a, b string) int { return strings.Compare(kind(a), kind(b)) })
	return t.lines, nil
}

func kind(line string) string {
	kind, _, _ := strings.Cut(line, " ")
	return kind
}

// session is what takes a session.
func (t *transcript) session(ctx context.Context, s *mcp.ClientSession) {
	t.call(ctx, s, "rooted", input{})
	t.call(ctx, s, "pingback", input{})
	for _, err := range []error{
		s.Subscribe(ctx, &mcp.SubscribeParams{URI: "talk://never"}),
		s.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: "talk://never"}),
	} {
		t.add("subscribed and unsubscribed: %v", err)
	}
}

// call calls a tool.
func (t *transcript) call(ctx context.Context, s *mcp.ClientSession, name string, in input) {
	params := &mcp.CallToolParams{Name: name, Arguments: in}
	if name == "log" && s.InitializeResult().ProtocolVersion >= loneVersion {
		params.Meta = mcp.Meta{"io.modelcontextprotocol/logLevel": "info"}
	}
	params.SetProgressToken("p-" + name)
	res, err := s.CallTool(ctx, params)
	var wire *jsonrpc.Error
	switch {
	case errors.As(err, &wire):
		t.add("%s: error %d %q %s", name, wire.Code, wire.Message, wire.Data)
	case err != nil:
		t.add("%s: %v", name, err)
	case len(res.Content) != 1:
		t.add("%s: %d contents", name, len(res.Content))
	default:
		got := res.Content[0].(*mcp.TextContent).Text
		if len(got) > 100 {
			got = fmt.Sprintf("%d bytes %x", len(got), sha256.Sum256([]byte(got)))
		}
		t.add("%s: %q, error %t", name, got, res.IsError)
	}
}

func (t *transcript) converse(ctx context.Context, s *mcp.ClientSession) error {
	init := s.InitializeResult()
	t.add("server %s %s %q", init.ServerInfo.Name, init.ServerInfo.Version, init.Instructions)
	call := func(name string, in input) { t.call(ctx, s, name, in) }
	tools, err := s.ListTools(ctx, nil)
	if err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	for _, tool := range tools.Tools {
		t.add("tool %s", tool.Name)
	}
	call("echo", input{Text: "gr\u00fc\u00dfe \u2028 \U0001f600 \x00 \"</script>"})
	call("fail", input{})
	call("none", input{})
	call("steps", input{N: 20, Text: "on"})
	if err := t.await(ctx, "progress p-steps", 20); err != nil {
		return err
	}
	call("big", input{N: 4 << 20})
	call("length", input{Text: strings.Repeat("x", 2<<20)})
	call("sample", input{Text: "a b"})
	call("elicit", input{Text: "who"})
	call("roots", input{})
	if init.ProtocolVersion < loneVersion {
		if err := s.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: "info"}); err != nil {
			return fmt.Errorf("setting the level: %w", err)
		}
	}
	call("log", input{N: 1000, Text: "line"})
	if err := t.await(ctx, "log ", 1000); err != nil {
		return err
	}
	if err := t.cancel(ctx, s); err != nil {
		return err
	}
	call("cancelled", input{})
	if err := s.Subscribe(ctx, &mcp.SubscribeParams{URI: "talk://now"}); err == nil {
		if err := t.subscribed(ctx, s); err != nil {
			return err
		}
		call("touch", input{})
		if err := t.await(ctx, "updated ", 1); err != nil {
			return err
		}
	}
	complete, err := s.Complete(ctx, &mcp.CompleteParams{
		Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "hello"}, Argument: mcp.CompleteParamsArgument{Name: "who", Value: "hel"},
	})
	if err != nil {
		return fmt.Errorf("completing: %w", err)
	}
	t.add("complete %v", complete.Completion.Values)
	read, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "talk://now"})
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	t.add("resource %s", read.Contents[0].Text)
	prompt, err := s.GetPrompt(ctx, &mcp.GetPromptParams{Name: "hello"})
	if err != nil {
		return fmt.Errorf("prompt: %w", err)
	}
	t.add("prompt %s", prompt.Messages[0].Content.(*mcp.TextContent).Text)
	if _, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "talk://never"}); err != nil {
		t.add("read never: %v", err)
	}
	call("grow", input{})
	if err := t.await(ctx, "tools changed", 1); err != nil {
		return err
	}
	call("grown", input{})
	if init.ProtocolVersion < loneVersion { // which has no ping, and from the SDK's client an empty one
		_ = s.Ping(ctx, nil)
	}
	return nil
}

// cancel takes a call back that is under way.
func (t *transcript) cancel(ctx context.Context, s *mcp.ClientSession) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		params := &mcp.CallToolParams{Name: "wait", Arguments: input{}}
		params.SetProgressToken("p-wait")
		_, err := s.CallTool(ctx, params)
		ended <- err
	}()
	if err := t.await(ctx, "progress p-wait", 1); err != nil {
		return err
	}
	cancel()
	err := <-ended
	t.add("wait: cancelled %t", errors.Is(err, context.Canceled))
	return nil
}
