// Package testcaddy runs a real Caddy inside a test: a Caddyfile is adapted,
// loaded, and ended with the test. Caddy's configuration is one to a process,
// so tests that use it do not run in parallel.
package testcaddy

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	// The Caddyfile adapter and the modules that tests use.
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func init() { caddy.RegisterModule(sinkWriter{}) }

// Instance is a running Caddy.
type Instance struct {
	t    testing.TB
	data string
	log  tail // of the configurations before the one that runs
}

// ports are those that FreePort has given out.
var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePort returns a port of the loopback address that nothing listens on,
// another at each call. It stays below the ports that systems give to
// listeners and connections that ask for any (from 32768 on Linux, from 49152
// elsewhere): one of those could be taken by a test's own upstream between
// this call and the start of Caddy.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	const first, last, attempts = 10000, 32767, 1000
	for range attempts {
		port := first + rand.IntN(last-first+1)
		if ports.given[port] || !free(port) {
			continue
		}
		ports.given[port] = true
		return port
	}
	t.Fatalf("no free port between %d and %d", first, last)
	return 0
}

// free reports whether TCP and UDP (HTTP/3) can listen on a port, on the
// loopback address and on all.
func free(port int) bool {
	for _, host := range []string{"127.0.0.1", ""} {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		_ = l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		_ = u.Close()
	}
	return true
}

// Adapt adapts a Caddyfile to JSON.
func Adapt(caddyfile string) ([]byte, error) {
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return out, err
}

// Run loads a Caddyfile, with storage in a folder of the test. The admin API is off,
// but for a Caddyfile whose `admin` option gives it an address. It ends with the test.
func Run(t testing.TB, caddyfile string) *Instance {
	t.Helper()
	in := &Instance{t: t, data: t.TempDir()}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		in.showLog()
	})
	in.Load(caddyfile)
	return in
}

// showLog makes Caddy's log a part of the test's, where the test has failed or -v is
// given. It belongs to no other test: a package that fails shows what failed.
func (in *Instance) showLog() {
	in.t.Helper()
	if !in.t.Failed() && !testing.Verbose() {
		return
	}
	in.log.add(sink.lines())
	if text := in.log.String(); text != "" {
		in.t.Logf("Caddy's log:\n%s", text)
	}
}

// Load replaces the configuration, as a reload does.
func (in *Instance) Load(caddyfile string) {
	in.t.Helper()
	if err := in.TryLoad(caddyfile); err != nil {
		in.t.Fatalf("loading configuration: %v\n%s", err, caddyfile)
	}
}

// TryLoad is Load for a configuration that may be refused.
func (in *Instance) TryLoad(caddyfile string) error {
	adapted, err := Adapt(caddyfile)
	if err != nil {
		return err
	}
	return in.TryLoadJSON(adapted)
}

// TryLoadJSON is TryLoad for a configuration in JSON.
func (in *Instance) TryLoadJSON(config []byte) error {
	raw, err := prepared(config, in.data)
	if err != nil {
		return err
	}
	in.log.add(sink.lines())
	sink.reset()
	return in.load(raw)
}

// Validate adapts and provisions a Caddyfile, as `caddy validate` does.
func Validate(t testing.TB, caddyfile string) error {
	t.Helper()
	adapted, err := Adapt(caddyfile)
	if err != nil {
		return err
	}
	return ValidateJSON(t, adapted)
}

// ValidateJSON is Validate for a configuration in JSON.
func ValidateJSON(t testing.TB, config []byte) error {
	t.Helper()
	raw, err := prepared(config, t.TempDir())
	if err != nil {
		return err
	}
	var cfg caddy.Config
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return err
	}
	return caddy.Validate(&cfg)
}

// prepared is a configuration with storage in a folder, without an admin API that it has
// no address for, and with Caddy's log in the hands of the test: one without a `logging`
// of its own would have Caddy log to standard error from then on.
func prepared(config []byte, data string) ([]byte, error) {
	var cfg map[string]any
	if err := json.Unmarshal(config, &cfg); err != nil {
		return nil, err
	}
	admin, _ := cfg["admin"].(map[string]any)
	listen, _ := admin["listen"].(string)
	cfg["admin"] = map[string]any{"disabled": listen == "", "listen": listen, "config": map[string]any{"persist": false}}
	cfg["storage"] = map[string]any{"module": "file_system", "root": data}
	cfg["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{
		"level":   ofDefaultLog(cfg, "level", "DEBUG"),
		"encoder": ofDefaultLog(cfg, "encoder", map[string]any{"format": "json"}),
		"writer":  map[string]any{"output": "test_sink"},
		// To log an event, Caddy reads its TLS app while Start still writes to it, where a
		// certificate is obtained at once: a data race, as of v2.11.9.
		"exclude": []string{"events"},
	}}}
	watchListeners(cfg)
	if value := os.Getenv(Forwarding); value != "" {
		setForwarding(cfg, value)
	}
	return json.Marshal(cfg)
}

// Forwarding is the environment variable whose value all endpoints of all tests get for the
// option forwarding, if they have a proxy and do not set the option themselves.
const Forwarding = "MCP_AUTH_BRIDGE_TEST_FORWARDING"

// AsWritten has a test load its configurations as they are, for what depends on the exact text of
// an endpoint: its line in the Caddyfile is found by that.
func AsWritten(t *testing.T) { t.Setenv(Forwarding, "") }

// setForwarding sets the option forwarding of all endpoints in a configuration.
func setForwarding(at any, value string) {
	switch at := at.(type) {
	case []any:
		for _, in := range at {
			setForwarding(in, value)
		}
	case map[string]any:
		if at["handler"] == "mcp_auth_bridge" && at["reverse_proxy"] != nil && at["forwarding"] == nil {
			at["forwarding"] = value
		}
		for _, in := range at {
			setForwarding(in, value)
		}
	}
}

// ofDefaultLog returns what a Caddyfile says of its default log, or what holds where it
// says nothing.
func ofDefaultLog(cfg map[string]any, option string, otherwise any) any {
	at := any(cfg)
	for _, name := range []string{"logging", "logs", "default", option} {
		in, _ := at.(map[string]any)
		at = in[name]
	}
	if at == nil {
		return otherwise
	}
	return at
}

// Logs returns the log lines since the last load.
func Logs() []string { return sink.lines() }

// ForgetLogs forgets the log lines, and the memory that they take.
func ForgetLogs() { sink.reset() }

// Logged reports whether a log line has all of the texts.
func Logged(texts ...string) bool {
	for _, line := range sink.lines() {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			return true
		}
	}
	return false
}

// AwaitLog waits until a log line is there that is wanted, at most 20 s.
func AwaitLog(t testing.TB, wanted func(line string) bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		lines, more := sink.watch()
		if slices.ContainsFunc(lines, wanted) {
			return
		}
		select {
		case <-more:
		case <-late:
			var last tail
			last.add(lines)
			t.Fatalf("after 20 s the log has no such line:\n%s", last.String())
		}
	}
}

// Addr is a loopback address with a port.
func Addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// maxLog bounds what a sink keeps, in bytes, and maxShown what of it a test shows.
const (
	maxLog   = 16 << 20
	maxShown = 64 << 10
)

// tail is the end of a log.
type tail struct {
	text []byte
	cut  bool // there was more
}

func (l *tail) add(lines []string) {
	for _, line := range lines {
		if line != "" {
			l.text = append(append(l.text, line...), '\n')
		}
	}
	if over := len(l.text) - maxShown; over > 0 {
		// Whole lines, so that a JSON line is one.
		l.text, l.cut = append([]byte(nil), l.text[over+bytes.IndexByte(l.text[over:], '\n')+1:]...), true
	}
}

func (l *tail) String() string {
	text := strings.TrimSuffix(string(l.text), "\n")
	if l.cut {
		text = "...\n" + text
	}
	return text
}

type logSink struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed at the next write; nil: nobody waits
}

var sink logSink

func (s *logSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf.Len() < maxLog {
		s.buf.Write(p)
	}
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
	return len(p), nil
}

// watch returns the lines, and what is closed when there are more.
func (s *logSink) watch() (lines []string, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return strings.Split(strings.TrimSpace(s.buf.String()), "\n"), s.more
}

func (s *logSink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = bytes.Buffer{}
}

func (s *logSink) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSpace(s.buf.String()), "\n")
}

// sinkWriter is Caddy's way to the sink.
type sinkWriter struct{}

// CaddyModule returns the Caddy module information.
func (sinkWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test_sink", New: func() caddy.Module { return new(sinkWriter) }}
}

func (sinkWriter) String() string    { return "test sink" }
func (sinkWriter) WriterKey() string { return "test_sink" }

func (sinkWriter) OpenWriter() (io.WriteCloser, error) { return nopCloser{&sink}, nil }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
