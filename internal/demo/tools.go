package demo

import (
	"context"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type echoInput struct {
	Text string `json:"text" jsonschema:"what to say"`
}

type stepsInput struct {
	Steps int `json:"steps" jsonschema:"how many notifications of progress to send, up to 100"`
}

func text(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

// newMCPServer is a server with a few tools; which scope a tool needs is
// decided before it is reached.
func newMCPServer() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "demo", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "whoami", Description: "Says who is logged in."},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			return text("%s", subjectOf(ctx)), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "echo", Description: "Says what it is told."},
		func(_ context.Context, _ *mcp.CallToolRequest, in echoInput) (*mcp.CallToolResult, any, error) {
			return text("%s", in.Text), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "steps", Description: "Reports its progress."},
		func(ctx context.Context, req *mcp.CallToolRequest, in stepsInput) (*mcp.CallToolResult, any, error) {
			steps := min(max(in.Steps, 0), 100)
			token := req.Params.GetProgressToken()
			for i := range steps {
				if token == nil {
					break
				}
				if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: float64(i + 1), Total: float64(steps)}); err != nil {
					return nil, nil, err
				}
			}
			return text("%d steps", steps), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: adminTool, Description: "Needs the scope " + ScopeAdmin + "."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return text("the secret of the admins"), nil, nil
		})
	return s
}
