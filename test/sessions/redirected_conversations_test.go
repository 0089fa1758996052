package sessions_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// renamed serves a handler at the other slash form of each path, to which it redirects with
// a name that clients do not know; a message path is announced at that name as well.
type renamed struct {
	http.Handler
	status int
}

const renamedOrigin = "http://localhost:8000"

func (h renamed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, slash := strings.CutSuffix(r.URL.Path, "/")
	if !slash {
		to := *r.URL
		to.Path += "/"
		w.Header().Set("Location", renamedOrigin+to.RequestURI())
		w.WriteHeader(h.status)
		return
	}
	r.URL.Path = path
	h.Handler.ServeHTTP(&announcing{ResponseWriter: w}, r)
}

// announcing makes the reference of an endpoint event absolute.
type announcing struct{ http.ResponseWriter }

func (w *announcing) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "event: endpoint\ndata: /") {
		_, err := w.ResponseWriter.Write([]byte(strings.Replace(string(p), "data: /", "data: "+renamedOrigin+"/", 1)))
		return len(p), err
	}
	return w.ResponseWriter.Write(p)
}

func (w *announcing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *announcing) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Rules A10, D2, D3: a server that redirects each request to its other slash form, by
// whatever status, and calls itself by another port, has the same conversation with clients
// of every transport as one that does not.
func TestRedirectedConversations(t *testing.T) {
	servers := map[string]struct {
		path    string
		handler func() http.Handler
	}{
		"": {"/mcp", func() http.Handler {
			return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return mcptest.NewServer() }, nil)
		}},
		"sse+": {"/sse", func() http.Handler {
			return mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return mcptest.NewServer() }, nil)
		}},
	}
	for kind, server := range servers {
		for name, down := range mcptest.PairDownstreams {
			t.Run(kind+name, func(t *testing.T) {
				converse := func(h http.Handler) []string {
					port := testcaddy.FreePort(t)
					testcaddy.Run(t, mcptest.SiteForAllClients(port, "to "+kind+mcptest.Serve(t, h)+server.path))
					transport, version := down(t, "http://"+testcaddy.Addr(port))
					lines, err := mcptest.Converse(t.Context(), transport, version)
					if err != nil {
						t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
					}
					return lines
				}
				want := converse(server.handler())
				for _, status := range []int{http.StatusMovedPermanently, http.StatusFound} {
					if diff := mcptest.Differ(converse(renamed{server.handler(), status}), want); diff != "" {
						t.Errorf("%d:\n%s", status, diff)
					}
				}
			})
		}
	}
}
