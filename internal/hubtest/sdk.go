package hubtest

//lint:file-ignore SA1019 what is deprecated is in use, and has to cross

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// pipePeer is an MCP server of the SDK at the other end of two pipes.
type pipePeer struct {
	in   *io.PipeWriter
	out  *io.PipeReader
	done chan struct{}
	once sync.Once
	stop context.CancelFunc
	send chan []byte
}

func (p *pipePeer) Send(_ *http.Request, sent message.Message) error {
	frame := sent.Raw
	select {
	case p.send <- append(append([]byte(nil), frame...), '\n'):
		return nil
	case <-p.done:
		return errors.New("ended")
	default:
		return errors.New("queue is full")
	}
}

func (p *pipePeer) Done() <-chan struct{} { return p.done }

func (p *pipePeer) Close() error {
	p.once.Do(func() {
		p.stop()
		_ = p.in.Close()
		_ = p.out.Close()
	})
	<-p.done
	return nil
}

// startServer returns a Start of [servers.Config] for an SDK server.
func startServer(newServer func() *mcp.Server) func(context.Context, *http.Request, upstream.Receiver) (upstream.Peer, error) {
	return func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		toServer, in := io.Pipe()
		out, fromServer := io.Pipe()
		ctx, stop := context.WithCancel(context.Background())
		p := &pipePeer{in: in, out: out, done: make(chan struct{}), stop: stop, send: make(chan []byte, 1024)}
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = newServer().Run(ctx, &mcp.IOTransport{Reader: toServer, Writer: fromServer})
			_ = fromServer.Close()
			_ = toServer.Close()
		})
		wg.Go(func() {
			for {
				select {
				case frame := <-p.send:
					if _, err := in.Write(frame); err != nil {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
		wg.Go(func() {
			lines := bufio.NewReader(out)
			for {
				line, err := lines.ReadBytes('\n')
				if err != nil {
					stop()
					return
				}
				deliver(line[:len(line)-1])
			}
		})
		go func() {
			wg.Wait()
			close(p.done)
		}()
		return p, nil
	}
}

// everything is a server that uses what MCP has.
func everything() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "everything", Version: "1"}, nil)
	type input struct {
		N int `json:"n"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "big"}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strings.Repeat("x", in.N)}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "steps"}, func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		for i := range in.N {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1)}); err != nil {
				return nil, nil, err
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "ask"}, func(ctx context.Context, req *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, any, error) {
		sampled, err := req.Session.CreateMessage(ctx, &mcp.CreateMessageParams{MaxTokens: 1, Messages: []*mcp.SamplingMessage{}})
		if err != nil {
			return nil, nil, err
		}
		elicited, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "who?", RequestedSchema: map[string]any{"type": "object"}})
		if err != nil {
			return nil, nil, err
		}
		text := sampled.Content.(*mcp.TextContent).Text + " " + elicited.Action
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "wait"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, any, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	})
	mcp.AddTool(s, &mcp.Tool{Name: "grow"}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		mcp.AddTool(s, &mcp.Tool{Name: fmt.Sprintf("grown%d", in.N)}, func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, any, error) {
			return nil, nil, nil
		})
		return &mcp.CallToolResult{}, nil, nil
	})
	return s
}

// ConnectHub connects a client of the SDK.
func ConnectHub(t *testing.T, url string, opts *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, opts).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// CallTool calls a tool with a number, and returns its text.
func CallTool(ctx context.Context, s *mcp.ClientSession, name string, n int) (string, error) {
	params := &mcp.CallToolParams{Name: name, Arguments: map[string]any{"n": n}}
	params.SetProgressToken("p-" + name)
	res, err := s.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, c := range res.Content {
		text.WriteString(c.(*mcp.TextContent).Text)
	}
	if res.IsError {
		return "", errors.New(text.String())
	}
	return text.String(), nil
}
