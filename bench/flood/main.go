// Command flood measures what hostile clients can make Caddy keep: it sends any
// number of requests with hosts, origins and headers that are all different,
// and compares the process's memory early on and at the end.
//
// An endpoint with authorize gets tokens of 10,000 users, and tokens that are all different and
// that its issuer has not signed.
//
//	go run ./bench/flood [-caddy <binary>] [-requests 1000000]
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

const (
	workers = 8
	// margin is what the resident memory may grow by between the first tenth
	// of the requests and the last, in KiB: the heap of a busy Go program
	// breathes.
	margin = 64 << 10
	// loginURL is the endpoint with authorize.
	loginURL = "https://mcp.test/login"
)

func main() {
	binary := flag.String("caddy", "", "Caddy `binary` (default: built from ./cmd/caddy)")
	n := flag.Int("requests", 1_000_000, "`number` of requests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *n); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, n int) (err error) {
	dir, err := os.MkdirTemp("", "mcp-auth-bridge-flood-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if binary, err = benchkit.Build(ctx, binary, dir); err != nil {
		return err
	}
	up, err := startUpstream(ctx)
	if err != nil {
		return err
	}
	defer up.Close()
	i, err := benchkit.StartIssuer()
	if err != nil {
		return err
	}
	defer i.Close()
	more, err := logins(i)
	if err != nil {
		return err
	}
	shapes = append(more, shapes...) // the last one stays the last
	c, err := startCaddy(ctx, binary, dir, up.addr, i.URL)
	if err != nil {
		return err
	}
	defer c.Kill()

	var before int
	started := time.Now()
	for i, part := range []int{n / 10, n - n/10} {
		if err := flood(ctx, c.Site, i*(n/10), part); err != nil {
			return err
		}
		rss, err := c.RSS()
		if err != nil {
			return err
		}
		fmt.Printf("%9d requests: %d MiB resident\n", i*(n/10)+part, rss>>10)
		if i == 1 && rss-before > margin {
			return fmt.Errorf("the resident memory grew by %d MiB", (rss-before)>>10)
		}
		before = rss
	}
	// An unknown key has the keys fetched at most once in 10 seconds.
	if fetched, most := i.KeysFetched(), int64(time.Since(started)/(10*time.Second))+2; fetched > most {
		return fmt.Errorf("the keys were fetched %d times, more than %d", fetched, most)
	}
	for kind, count := range counts {
		fmt.Printf("%9d %s\n", count.Load(), kind)
	}
	return nil
}

// shape is a kind of request, another one for each number.
type shape struct {
	name   string
	status string // of the answer; any, if it is empty
	body   string
	head   func(i int) string
}

var shapes = []shape{
	{"preflights of origins that are not allowed", "403", "", func(i int) string {
		return fmt.Sprintf("OPTIONS /mcp HTTP/1.1\r\nHost: mcp.test\r\nOrigin: https://h%d.evil.example\r\nAccess-Control-Request-Method: POST\r\n", i)
	}},
	{"preflights that ask for headers of their own", "204", "", func(i int) string {
		return fmt.Sprintf("OPTIONS /mcp HTTP/1.1\r\nHost: mcp.test\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: mcp-param-%d, x-%[1]d\r\n", i)
	}},
	{"requests for hosts that nobody configured", "401", "", func(i int) string {
		return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: h%d.test\r\nX-Forwarded-Host: h%[1]d.evil.example\r\nContent-Length: 0\r\n", i)
	}},
	{"requests of origins that are not allowed", "403", "", func(i int) string {
		return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: h%d.test\r\nOrigin: https://h%[1]d.evil.example\r\nContent-Length: 0\r\n", i)
	}},
	{"metadata of other paths", "404", "", func(i int) string {
		return fmt.Sprintf("GET /.well-known/oauth-authorization-server/h%d HTTP/1.1\r\nHost: mcp.test\r\n", i)
	}},
	{"pages that are not the authorization server's", "200", "", func(i int) string {
		return fmt.Sprintf("GET /page-%d HTTP/1.1\r\nHost: h%[1]d.test\r\n", i)
	}},
	{"redirects to paths of their own", "302", "", func(i int) string {
		return fmt.Sprintf("GET /authorize?to=/page-%d HTTP/1.1\r\nHost: mcp.test\r\nCookie: c%[1]d=1\r\n", i)
	}},
	{"metadata for hosts that nobody configured", "", "", func(i int) string {
		return fmt.Sprintf("GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nHost: h%d.test\r\n", i)
	}},
}

// users is how many users of their own send requests to the endpoint with authorize. Each of
// their tokens is signed, which costs more than a request.
const users = 10_000

// logins returns the shapes of the endpoint with authorize: each user, tokens with a signature
// that is another's, and tokens of keys that do not exist.
func logins(i *benchkit.Issuer) ([]shape, error) {
	const body = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	post := func(token string) string {
		return fmt.Sprintf("POST /login HTTP/1.1\r\nHost: mcp.test\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n", token, len(body))
	}
	forger, err := i.Forger(loginURL)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var tokens []string
	next := 0
	return []shape{
		{"tokens of users", "200", body, func(int) string { // not all numbers are of this shape
			mu.Lock()
			defer mu.Unlock()
			user := next % users
			if next++; user == len(tokens) {
				token, err := i.Token(fmt.Sprintf("user-%d", user), loginURL, "mcp")
				if err != nil {
					return err.Error() // is no request
				}
				tokens = append(tokens, token)
			}
			return post(tokens[user])
		}},
		{"tokens with the signature of another", "401", body, func(k int) string {
			return post(forger.OtherSignature(k))
		}},
		{"tokens of keys that do not exist", "401", body, func(k int) string {
			return post(forger.UnknownKey(k))
		}},
	}, nil
}

var counts = make(map[string]*atomic.Int64)

// flood sends requests first to first+n over connections that stay open.
func flood(ctx context.Context, addr string, first, n int) error {
	for _, s := range shapes {
		if counts[s.name] == nil {
			counts[s.name] = new(atomic.Int64)
		}
	}
	var next atomic.Int64
	next.Store(int64(first))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = work(ctx, addr, &next, int64(first+n)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func work(ctx context.Context, addr string, next *atomic.Int64, end int64) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)
	for ctx.Err() == nil {
		i := next.Add(1) - 1
		if i >= end {
			return nil
		}
		// The last shape costs the upstream requests of its own.
		shape := shapes[i%int64(len(shapes)-1)]
		if i%100 == 0 {
			shape = shapes[len(shapes)-1]
		}
		head := shape.head(int(i))
		if _, err := io.WriteString(conn, head+"\r\n"+shape.body); err != nil {
			return fmt.Errorf("%s: %w", shape.name, err)
		}
		method, _, _ := strings.Cut(head, " ")
		res, err := http.ReadResponse(answers, &http.Request{Method: method})
		if err != nil {
			return fmt.Errorf("%s: %w", shape.name, err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", shape.name, err)
		}
		if shape.status != "" && !strings.HasPrefix(res.Status, shape.status) {
			return fmt.Errorf("%s: answered %s, want %s", shape.name, res.Status, shape.status)
		}
		counts[shape.name].Add(1)
	}
	return ctx.Err()
}

// upstream is an MCP server with its own authorization server.
type upstream struct {
	*http.Server
	addr string
}

func startUpstream(ctx context.Context) (*upstream, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{addr: l.Addr().String()}
	origin := "http://" + u.addr
	document := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+origin+`/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/login", document(`{"jsonrpc":"2.0","id":1,"result":{}}`))
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", document(fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["%[1]s"]}`, origin)))
	mux.HandleFunc("/.well-known/oauth-authorization-server", document(fmt.Sprintf(`{"issuer":"%s","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token"}`, origin)))
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", origin+r.URL.Query().Get("to"))
		w.WriteHeader(http.StatusFound)
	})
	u.Server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = u.Serve(l) }()
	return u, nil
}

func startCaddy(ctx context.Context, binary, dir, upstream, issuer string) (*benchkit.Caddy, error) {
	c, err := benchkit.NewCaddy(dir)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(c.Site)
	return c, c.Start(ctx, binary, fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	storage file_system %q
	log {
		level ERROR
	}
}
http://:%s {
	bind 127.0.0.1
	route {
		mcp_auth_bridge %s {
			hosts mcp.test
			cors {
				allow_origins https://app.example
			}
			authorization_server bridge
		}
		mcp_auth_bridge /login {
			public_url `+loginURL+`
			authorize {
				issuer %s
			}
		}
		respond 200
	}
}
`, dir, port, upstream, issuer))
}
