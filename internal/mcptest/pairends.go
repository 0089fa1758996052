package mcptest

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TalkServer is the environment variable that makes a test binary the server of the
// conversation; its value "stateless" makes it a stateless one.
const TalkServer = "MCP_AUTH_BRIDGE_TEST_TALK"

// PairUpstreams start the server of the conversation, one for each transport, and return the
// lines for it in the directive.
var PairUpstreams = map[string]func(*testing.T) string{
	"http": func(t *testing.T) string {
		return "to " + Serve(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return NewServer() }, nil)) + "/mcp"
	},
	"sse": func(t *testing.T) string {
		return "to sse+" + Serve(t, mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return NewServer() }, nil)) + "/sse"
	},
	// C2: what is carried over is read as clients read it, in a coding that was not
	// asked for too.
	"http in gzip": func(t *testing.T) string {
		return "to " + Serve(t, inGzip(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return NewServer() }, nil))) + "/mcp"
	},
	"sse in gzip": func(t *testing.T) string {
		return "to sse+" + Serve(t, inGzip(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return NewServer() }, nil))) + "/sse"
	},
	"stdio": func(t *testing.T) string {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("stdio %q -test.run=^$ {\n\tenv %s=1\n}", self, TalkServer)
	},
}

// inGzip compresses all answers of a handler, asked for or not.
func inGzip(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z := &gzipWriter{ResponseWriter: w}
		defer z.end()
		h.ServeHTTP(z, r)
	})
}

type gzipWriter struct {
	http.ResponseWriter
	z *gzip.Writer
}

// Write implements io.Writer.
func (w *gzipWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.z.Write(p)
}

// WriteHeader implements http.ResponseWriter.
func (w *gzipWriter) WriteHeader(status int) {
	if status != http.StatusNoContent && status != http.StatusAccepted {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *gzipWriter) begin() {
	if w.z == nil {
		w.Header().Set("Content-Encoding", "gzip") // if the header is not out yet
		w.z = gzip.NewWriter(w.ResponseWriter)
	}
}

// Flush implements http.Flusher.
func (w *gzipWriter) Flush() {
	w.Header().Set("Content-Encoding", "gzip")
	if w.z != nil {
		_ = w.z.Flush()
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *gzipWriter) end() {
	if w.z != nil {
		_ = w.z.Close()
	}
}

// Serve serves a handler until the test ends, and returns its URL.
func Serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// PairDownstreams are the transports of clients, each with its protocol version.
var PairDownstreams = map[string]func(*testing.T, string) (mcp.Transport, string){
	"sessions": func(t *testing.T, base string) (mcp.Transport, string) {
		return &mcp.StreamableClientTransport{Endpoint: base + "/mcp", HTTPClient: HTTPClient(t)}, "2025-11-25"
	},
	"stateless": func(t *testing.T, base string) (mcp.Transport, string) {
		return &mcp.StreamableClientTransport{Endpoint: base + "/mcp", HTTPClient: HTTPClient(t)}, "2026-07-28"
	},
	"sse": func(t *testing.T, base string) (mcp.Transport, string) {
		return &mcp.SSEClientTransport{Endpoint: base + "/mcp/sse", HTTPClient: HTTPClient(t)}, "2025-11-25"
	},
}

// Direct returns the transcript of the conversation with nothing between the two sides.
func Direct(t *testing.T, version string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = []string{TalkServer + "=1"}
	lines, err := Converse(t.Context(), &mcp.CommandTransport{Command: cmd}, version)
	if err != nil {
		t.Fatalf("without a bridge: %v\n%s", err, strings.Join(lines, "\n"))
	}
	return lines
}

// Differ returns the lines that only one of two transcripts has.
func Differ(got, want []string) string {
	var b strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&b, "+ %s\n", line)
		}
	}
	return b.String()
}
