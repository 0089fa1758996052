package mcptest

//lint:file-ignore SA1019 what is deprecated is in use, and has to cross

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// NewStatelessServer returns the server of the conversation as one that knows nothing
// older than 2026-07-28: it refuses initialize, and what it asks of the client it asks
// in its answers. Where all its messages share one connection it has no subscriptions to
// resources: the SDK's server forgets every subscription there with the first that ends.
func NewStatelessServer(shared bool) *mcp.Server {
	s := NewServer()
	s.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if method == "initialize" {
				return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "supported are 2026-07-28 and later"}
			}
			res, err := next(ctx, method, req)
			if discovered, ok := res.(*mcp.DiscoverResult); ok && shared {
				discovered.Capabilities.Resources.Subscribe = false
			}
			return res, err
		}
	})
	// asks has a tool ask for something, and go on with what it gets.
	asks := func(name string, ask func(input) mcp.InputRequest, then func(mcp.InputResponse) *mcp.CallToolResult) {
		tool(s, name, func(_ context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, error) {
			if got, ok := req.Params.InputResponses["it"]; ok && req.Params.RequestState == "state of "+name {
				return then(got), nil
			}
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"it": ask(in)}, RequestState: "state of " + name}, nil
		})
	}
	asks("sample", func(in input) mcp.InputRequest {
		return &mcp.CreateMessageParams{
			MaxTokens: 7, SystemPrompt: in.Text, Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: in.Text}}},
		}
	}, func(got mcp.InputResponse) *mcp.CallToolResult {
		switch res := got.(type) {
		case *mcp.CreateMessageResult:
			return text("%s of %s", res.Content.(*mcp.TextContent).Text, res.Model)
		case *mcp.CreateMessageWithToolsResult:
			return text("%s of %s", res.Content[0].(*mcp.TextContent).Text, res.Model)
		}
		return text("%T", got)
	})
	asks("elicit", func(in input) mcp.InputRequest {
		return &mcp.ElicitParams{
			Message: in.Text, RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}},
		}
	}, func(got mcp.InputResponse) *mcp.CallToolResult {
		res := got.(*mcp.ElicitResult)
		return text("%s %v", res.Action, res.Content["name"])
	})
	asks("roots", func(input) mcp.InputRequest { return new(mcp.ListRootsParams) }, func(got mcp.InputResponse) *mcp.CallToolResult {
		return text("%s", got.(*mcp.ListRootsResult).Roots[0].URI)
	})
	return s
}
