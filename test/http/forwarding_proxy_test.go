package http_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

var anyPort = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// Whoever passes an answer on, the proxy selects the upstream, tries again, counts requests and
// failures, and a proxy before it has not set what the placeholders show.
func TestForwardingLeavesTheProxyItsPart(t *testing.T) {
	var asked atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/login" && !strings.HasPrefix(r.URL.Path, "/.well-known/") {
			asked.Add(1)
		}
		switch strings.Split(r.URL.Path, "/")[1] {
		case "intercepted":
			w.Header().Set("X-Own", "intercepted")
			w.WriteHeader(http.StatusTeapot)
		case "busy":
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case "stream":
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "breaks":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "begin")
		case "login":
			w.Header().Set("X-Stale", "login")
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("X-Own", r.URL.Path)
			_, _ = io.WriteString(w, "{}")
		}
	}))
	t.Cleanup(up.Close)
	live := up.Listener.Addr().String()
	results := make(map[string][]string)
	beside := []string{"header.X-Stale", "header.X-Own"}
	for _, by := range forwardings {
		t.Run(by, func(t *testing.T) {
			port, admin, dead := testcaddy.FreePort(t), testcaddy.FreePort(t), testcaddy.Addr(testcaddy.FreePort(t))
			shown := ""
			for _, name := range slices.Concat(shownPlaceholders, beside) {
				shown += fmt.Sprintf("log_append %s {http.reverse_proxy.%s}\n", name, name)
			}
			times := []string{"upstream.latency", "upstream.latency_ms", "upstream.duration", "upstream.duration_ms", "duration"}
			for _, name := range times {
				shown += fmt.Sprintf("log_append %s {http.reverse_proxy.%s}\n", name, name)
			}
			endpoint := func(path, options string) string {
				to := live
				if path == "/retried" {
					to = dead + " " + live
				}
				return fmt.Sprintf("mcp_auth_bridge %s %s {\nforwarding %s\n%s\n}\n", path, to, by, options)
			}
			testcaddy.Run(t, fmt.Sprintf("{\nauto_https off\nadmin 127.0.0.1:%d\n}\nhttp://127.0.0.1:%d {\nbind 127.0.0.1\nlog\n%s", admin, port, shown)+
				"intercept /intercepted {\n@teapot status 418\nhandle_response @teapot {\nreverse_proxy "+live+" {\nrewrite /login\n}\n}\n}\n"+
				"forward_auth /after/* "+live+" {\nuri /login\n}\n"+
				endpoint("/retried", "lb_policy first\nlb_try_duration 20s\nlb_try_interval 1ms\nfail_duration 1m")+
				endpoint("/busy", "unhealthy_status 5xx\nfail_duration 1m")+
				endpoint("/stream", "")+endpoint("/intercepted", "")+endpoint("/breaks", "lb_retries 3")+endpoint("/after/it", "")+"}\n")
			c := mcptest.NewClient(t)
			note := func(format string, args ...any) { results[by] = append(results[by], fmt.Sprintf(format, args...)) }
			get := func(path string) {
				asked.Store(0)
				testcaddy.ForgetLogs()
				res, err := c.Do(mcptest.NewRequest(t, http.MethodGet, "http://"+testcaddy.Addr(port)+path, ""))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				testcaddy.AwaitLog(t, func(line string) bool { return strings.Contains(line, `"logger":"http.log.access`) })
				_, access := logOf(t)
				for _, line := range testcaddy.Logs() {
					var fields map[string]any
					if _ = json.Unmarshal([]byte(line), &fields); fields["logger"] != nil && strings.HasPrefix(fields["logger"].(string), "http.log.access") {
						access += fmt.Sprint(fields["header.X-Stale"], fields["header.X-Own"])
						for _, name := range times {
							access += fmt.Sprint(" ", fields[name] != nil)
						}
						latency, _ := fields["upstream.latency_ms"].(float64)
						duration, _ := fields["upstream.duration_ms"].(float64)
						if latency > duration {
							t.Errorf("latency %v, duration %v", latency, duration)
						}
					}
				}
				note("%s: %d %s %v, asked %d times, %s", path, res.StatusCode, body, err, asked.Load(), anyPort.ReplaceAllString(access, "PORT"))
			}
			upstreams := func() (all []string) {
				res, err := c.Get("http://" + testcaddy.Addr(admin) + "/reverse_proxy/upstreams")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = res.Body.Close() }()
				var list []struct {
					Address  string `json:"address"`
					Requests int    `json:"num_requests"`
					Fails    int    `json:"fails"`
				}
				if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
					t.Fatal(err)
				}
				for _, u := range list {
					all = append(all, fmt.Sprintf("%s %d %d", strings.NewReplacer(dead, "dead", live, "live").Replace(u.Address), u.Requests, u.Fails))
				}
				slices.Sort(all)
				return all
			}
			get("/retried")
			note("%v", upstreams())
			get("/breaks")
			get("/after/it")
			get("/intercepted")
			testcaddy.ForgetLogs()
			stream, err := c.Do(mcptest.NewRequest(t, http.MethodGet, "http://"+testcaddy.Addr(port)+"/stream", ""))
			if err != nil {
				t.Fatal(err)
			}
			note("a stream: %v", upstreams())
			_ = stream.Body.Close()
			mcptest.Poll(t, 20*time.Second, func() string {
				if got := upstreams(); !slices.Contains(got, "live 0 0") {
					return fmt.Sprint("the stream counts on: ", got)
				}
				return ""
			})
			// The access log has the stream after the proxy has counted its end.
			testcaddy.AwaitLog(t, func(line string) bool { return strings.Contains(line, `"logger":"http.log.access`) })
			get("/busy")
			get("/busy")
			note("%v", upstreams())
		})
	}
	if got, want := results["direct"], results["reverse_proxy"]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	t.Log(strings.Join(results["direct"], "\n"))
}

// lingering is a handler that is busy after the answer, as one that reports usage is, until
// something is received from lingers.
type lingering struct{}

var lingers = make(chan struct{})

func (lingering) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_lingering", New: func() caddy.Module { return new(lingering) }}
}

func (lingering) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := next.ServeHTTP(w, r)
	<-lingers
	return err
}

func init() { caddy.RegisterModule(lingering{}) }

// A1: what is flushed reaches the client at once, also the end of a body, whatever the handlers
// before the endpoint still do.
func TestEndIsFlushed(t *testing.T) {
	up := newScripted(t) // which closes each connection, so that none may be used again
	for _, by := range forwardings {
		port := testcaddy.FreePort(t)
		if err := loadJSON(t, fmt.Sprintf(`{"s":{"automatic_https":{"disable":true},"listen":["127.0.0.1:%d"],"routes":[{"handle":[{"handler":"test_lingering"},
			{"handler":"mcp_auth_bridge","forwarding":%q,"reverse_proxy":{"upstreams":[{"dial":%q}],"transport":{"protocol":"http","keep_alive":{"enabled":false}}}}]}]}}`, port, by, strings.TrimPrefix(up.addr, "http://"))); err != nil {
			t.Fatal(err)
		}
		for name, answer := range map[string][]string{
			"events":        {"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("data: 1\n\n"), chunk("data: 2\n\n") + "0\r\n\r\n"},
			"JSON":          {"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("{\n"), chunk("}\n") + "0\r\n\r\n"},
			"until the end": {"Content-Type: text/plain\r\nConnection: close\r\n\r\nab\n", "cd\n"},
			"incremental":   {"Incremental: ?1\r\nContent-Length: 6\r\n\r\nab\n", "cd\n"},
			"at once":       {"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("data: 1\n\n") + "0\r\n\r\n"},
			"no body":       {"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		} {
			if by == "reverse_proxy" && name == "no body" {
				continue // its timer may be too late, but hardly ever is
			}
			up.script(false, slices.Concat([]string{"HTTP/1.1 200 OK\r\n" + date + answer[0]}, answer[1:]))
			conn, err := net.Dial("tcp", testcaddy.Addr(port))
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nContent-Length: 2\r\n\r\n{}")
			in := bufio.NewReader(conn)
			for i, piece := range answer {
				end := lastLine(strings.TrimSuffix(piece, "0\r\n\r\n"))
				for line := ""; err == nil && !strings.Contains(line, end); {
					line, err = in.ReadString('\n')
				}
				if i == len(answer)-1 {
					break
				}
				select {
				case up.goOn <- struct{}{}:
				case <-time.After(20 * time.Second):
					t.Fatalf("%s, %s: the upstream was not asked, or has ended", by, name)
				}
			}
			if err != nil {
				t.Errorf("%s, %s: the end of the body has not come: %v", by, name, err)
			}
			select {
			case lingers <- struct{}{}:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s, %s: the handler has no answer", by, name)
			}
			_ = conn.Close()
		}
	}
}
