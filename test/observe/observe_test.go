package observe_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// statusNow is what the admin API says, as far as tests look at it.
type statusNow struct {
	Version   int
	Endpoints []struct {
		Endpoint string
		State    string
		Problems []struct{ State, Text, Advice string }
		Program  struct {
			Failed int                 `json:"failed_starts"`
			Last   struct{ Count int } `json:"last_end"`
		}
		Now   struct{ Requests, Streams, Sessions, Servers int }
		Load  statusCounts `json:"since_load"`
		Total statusCounts `json:"since_start"`
		Last  []struct {
			Method, Action, Reason string
			Count, Status          int
			Upstream               int      `json:"upstream_status"`
			Sent                   []string `json:"upstream_sent"`
			Got                    []string `json:"client_got"`
		} `json:"challenges"`
		Refused []struct {
			Origin, Host string
			Count        int
		} `json:"refused_origins"`
		Metadata  []struct{ Known, Absent bool }
		Upstreams []struct {
			Address  string
			Healthy  bool
			Failures int
			Why      string  `json:"last_failure_reason"`
			Failing  *string `json:"failing_since"`
		}
	}
}

type statusCounts struct {
	Requests, Challenges int
	Status               map[string]map[string]int
	Actions              map[string]int
	Kinds                []struct {
		Scheme, Error, Action string
		Count                 int
	}
	Refused int            `json:"origins_refused"`
	Begun   map[string]int `json:"sessions_begun"`
	Ended   []struct {
		Transport, Reason string
		Count             int
	} `json:"sessions_ended"`
	Starts   map[string]int `json:"server_starts"`
	Exits    map[string]int `json:"server_exits"`
	Streams  int            `json:"streams_ended"`
	Received int            `json:"bytes_received"`
	Sent     int            `json:"bytes_sent"`
}

// askAdmin returns what the admin API says, once nothing is under way: what is
// answered is counted a moment after the client has the answer.
func askAdmin(t *testing.T, c *http.Client, admin string) (statusNow, string) {
	t.Helper()
	for {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, "http://"+admin+"/mcp_auth_bridge/", ""))
		if got.Status != http.StatusOK {
			t.Fatalf("got %d %s", got.Status, got.Body)
		}
		var s statusNow
		if err := json.Unmarshal([]byte(got.Body), &s); err != nil {
			t.Fatalf("%v\n%s", err, got.Body)
		}
		busy := 0
		for _, e := range s.Endpoints {
			busy += e.Now.Requests - e.Now.Streams // those last
		}
		if busy == 0 {
			return s, got.Body
		}
		if t.Context().Err() != nil {
			t.Fatal("requests are under way for ever")
		}
	}
}

// metricsOf returns the samples of the module, by name and labels as written.
func metricsOf(t *testing.T, c *http.Client, admin string) map[string]float64 {
	t.Helper()
	got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, "http://"+admin+"/metrics", ""))
	if got.Status != http.StatusOK {
		t.Fatalf("got %d %s", got.Status, got.Body)
	}
	samples := make(map[string]float64)
	lines := bufio.NewScanner(strings.NewReader(got.Body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line, ok := strings.CutPrefix(lines.Text(), "caddy_mcp_auth_bridge_")
		if !ok {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		samples[line[:i]] = value
	}
	return samples
}

// Rules F1 and F2: after ten thousand requests of all sorts within one load the admin
// API, the metrics and what clients have seen agree to the last request; a reload
// begins the counts of the load anew, and keeps the others.
func TestMixedLoad(t *testing.T) {
	n := 10_000
	up := httptest.NewServer(http.HandlerFunc(mcptest.ServeMixed))
	t.Cleanup(up.Close)
	port, admin := testcaddy.FreePort(t), testcaddy.Addr(testcaddy.FreePort(t))
	site := func(comment string) string {
		program := mcptest.SiteOfProgram(t, port, "", "")
		program = strings.Replace(program, "auto_https off", "auto_https off\n\tadmin "+admin, 1)
		return strings.Replace(program, "	mcp_auth_bridge {", `	# `+comment+`
	mcp_auth_bridge `+strings.TrimPrefix(up.URL, "http://")+`
	mcp_auth_bridge /program/mcp {`, 1)
	}
	caddy := testcaddy.Run(t, site("first"))
	base, c := "http://"+testcaddy.Addr(port), mcptest.NewClient(t)

	var sent sync.Map // status by kind, as clients see it
	var bytesGot, bytesSent atomic.Int64
	work := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for kind := range work {
				r := mcptest.MixedRequest(t, base, kind)
				if kind != "refused" { // whose body nobody reads
					bytesSent.Add(max(0, r.ContentLength))
				}
				res, err := c.Do(r)
				if err != nil {
					t.Error(err)
					continue
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				bytesGot.Add(int64(len(body)))
				count, _ := sent.LoadOrStore(kind+" "+strconv.Itoa(res.StatusCode), new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
		})
	}
	for i := range n {
		work <- mcptest.MixedKinds[i%len(mcptest.MixedKinds)]
	}
	close(work)
	wg.Wait()
	const sessions = 3
	for range sessions {
		s := mcptest.Connect(t, base+"/program/mcp")
		mcptest.DoIn(t, s, "pid", 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open := mcptest.Connect(t, base+"/program/mcp")

	seen := func(kind string, status int) int {
		if count, ok := sent.Load(kind + " " + strconv.Itoa(status)); ok {
			return int(count.(*atomic.Int64).Load())
		}
		return 0
	}
	s, body := waitFor(t, c, admin, func(s statusNow) bool {
		return s.Endpoints[1].Load.Exits["with_session"] == sessions
	})
	e, program := s.Endpoints[0], s.Endpoints[1]
	want := statusCounts{
		Requests: n, Challenges: seen("expired", 401) + seen("scope", 403) + seen("bare", 401) + seen("relayed", 401) + seen("broken", 401),
		Status: map[string]map[string]int{
			"OPTIONS": {"2xx": seen("preflight", 204)},
			"POST": {
				"2xx": seen("ok", 200) + seen("stream", 200),
				"4xx": seen("expired", 401) + seen("scope", 403) + seen("bare", 401) + seen("relayed", 401) + seen("broken", 401) + seen("missing", 404) + seen("refused", 403),
			},
		},
		Actions: map[string]int{"rewritten": seen("expired", 401) + seen("scope", 403), "missing": seen("bare", 401), "relayed": seen("relayed", 401), "unparsable": seen("broken", 401)},
		Refused: seen("refused", 403), Streams: seen("stream", 200), Sent: int(bytesGot.Load()), Received: int(bytesSent.Load()),
	}
	got := e.Load
	for name, pair := range map[string][2]any{
		"requests": {got.Requests, want.Requests}, "challenges": {got.Challenges, want.Challenges}, "status": {got.Status, want.Status},
		"actions": {got.Actions, want.Actions}, "refused": {got.Refused, want.Refused}, "streams": {got.Streams, want.Streams},
		"sent": {got.Sent, want.Sent}, "received": {got.Received, want.Received},
	} {
		if fmt.Sprint(pair[0]) != fmt.Sprint(pair[1]) {
			t.Errorf("%s: the admin API says %v, clients have seen %v", name, pair[0], pair[1])
		}
	}
	if len(e.Refused) != 1 || e.Refused[0].Count != want.Refused || e.Refused[0].Origin != "https://evil.example.com" {
		t.Errorf("refused origins: %+v", e.Refused)
	}
	if len(e.Last) != 5 {
		t.Errorf("%d kinds of challenge are remembered, want 5: %s", len(e.Last), body)
	}
	for _, c := range e.Last {
		if c.Action == "rewritten" && (!strings.Contains(c.Sent[0], "localhost:1") || !strings.Contains(c.Got[0], base+"/.well-known/")) {
			t.Errorf("the upstream sent %q, the client got %q", c.Sent, c.Got)
		}
	}
	if program.Load.Begun["http"] != sessions+1 || program.Now.Sessions != 1 || program.Now.Servers != 1 || program.Load.Starts["started"] != sessions+1 {
		t.Errorf("sessions: %+v, %+v", program.Load, program.Now)
	}
	compareMetrics(t, metricsOf(t, c, admin), s)

	// Reload.
	c.CloseIdleConnections()
	caddy.Load(site("second"))
	mcptest.AfterReload(t, func() error {
		res, err := c.Do(mcptest.NewRequest(t, http.MethodGet, "http://"+admin+"/mcp_auth_bridge/", ""))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return err
	})
	after, _ := askAdmin(t, c, admin)
	if fresh := after.Endpoints[0]; fresh.Load.Requests != 0 || fresh.Total.Requests != n || fmt.Sprint(fresh.Total.Actions) != fmt.Sprint(want.Actions) || len(fresh.Last) != 5 {
		t.Errorf("after a reload: %+v", fresh)
	}
	if after.Endpoints[1].Now.Sessions != 1 || after.Endpoints[1].Total.Begun["http"] != sessions+1 {
		t.Errorf("after a reload: %+v", after.Endpoints[1])
	}
	mcptest.AfterReload(t, func() error {
		_, err := open.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "pid", "n": 0}})
		return err
	})
	mcptest.AfterReload(t, func() error {
		res, err := c.Do(mcptest.MixedRequest(t, base, "expired"))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return err
	})
	after, _ = askAdmin(t, c, admin)
	if fresh := after.Endpoints[0]; fresh.Load.Requests != 1 || fresh.Total.Requests != n+1 || fresh.Load.Actions["rewritten"] != 1 {
		t.Errorf("after a reload and a request: %+v", fresh)
	}
	compareMetrics(t, metricsOf(t, c, admin), after)
}

// waitFor asks until the answer is what it will be.
func waitFor(t *testing.T, c *http.Client, admin string, is func(statusNow) bool) (statusNow, string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		s, body := askAdmin(t, c, admin)
		if is(s) {
			return s, body
		}
		select {
		case <-deadline:
			t.Fatalf("the answer never is what it has to be: %s", body)
		default:
		}
	}
}

// compareMetrics compares each sample that counts something with the admin API.
func compareMetrics(t *testing.T, got map[string]float64, s statusNow) {
	t.Helper()
	want := make(map[string]float64)
	for _, e := range s.Endpoints {
		put := func(name string, n int, labels ...string) {
			name += `{`
			pairs := append(labels, "endpoint", e.Endpoint)
			sorted := make([]string, 0, len(pairs)/2)
			for i := 0; i < len(pairs); i += 2 {
				sorted = append(sorted, pairs[i]+`="`+pairs[i+1]+`"`)
			}
			// In the order of their names, as they are written.
			for i := range sorted {
				for j := i + 1; j < len(sorted); j++ {
					if sorted[j] < sorted[i] {
						sorted[i], sorted[j] = sorted[j], sorted[i]
					}
				}
			}
			want[name+strings.Join(sorted, ",")+`}`] = float64(n)
		}
		for method, by := range e.Load.Status {
			for class, n := range by {
				put("request_duration_seconds_count", n, "method", method, "code", class)
			}
		}
		for _, k := range e.Load.Kinds {
			put("challenges_total", k.Count, "scheme", k.Scheme, "error", k.Error, "action", k.Action)
		}
		put("origins_refused_total", e.Load.Refused)
		put("stream_duration_seconds_count", e.Load.Streams)
		put("bytes_total", e.Load.Sent, "direction", "sent")
		put("bytes_total", e.Load.Received, "direction", "received")
		put("streams", e.Now.Streams)
		put("requests_in_flight", e.Now.Requests)
		for transport, n := range e.Load.Begun {
			put("sessions_begun_total", n, "transport", transport)
		}
		for _, end := range e.Load.Ended {
			put("sessions_ended_total", end.Count, "transport", end.Transport, "reason", end.Reason)
		}
		for what, n := range e.Load.Starts {
			put("server_starts_total", n, "result", what)
		}
	}
	for name, n := range want {
		if value, ok := got[name]; !ok || value != n {
			t.Errorf("metric %s is %v (%v), the admin API says %v", name, value, ok, n)
		}
	}
	challenges := 0.0
	for name, value := range got {
		if strings.HasPrefix(name, "challenges_total") {
			challenges += value
		}
		for _, secret := range []string{"http.request", "token"} {
			if strings.Contains(strings.ReplaceAll(name, "invalid_token", ""), secret) {
				t.Errorf("metric %s", name)
			}
		}
	}
	if want := s.Endpoints[0].Load.Challenges; challenges != float64(want) {
		t.Errorf("metrics have %v challenges, the admin API %d", challenges, want)
	}
}
