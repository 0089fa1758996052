package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// everything is all that a report can show.
func everything(t *testing.T, r *Report) string {
	t.Helper()
	var text strings.Builder
	for _, verbose := range []bool{false, true} {
		if err := r.WriteText(&text, TextOptions{Verbose: verbose}); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return text.String() + string(raw)
}

// echo sends all that a request has back, in every place that is shown.
func echo(w http.ResponseWriter, r *http.Request, status int) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	said := strings.Join([]string{
		r.Header.Get("Authorization"), r.Header.Get("X-Key"), strings.TrimPrefix(r.Header.Get("Cookie"), "a=b; session="), r.URL.RawQuery, string(body),
		form.Get("code"), form.Get("code_verifier"), form.Get("client_secret"), strings.Join(r.URL.Query()["key"], ""),
	}, " | ")
	h := w.Header()
	h.Set("Content-Type", "application/json; echo=\""+r.Header.Get("X-Key")+"\"")
	h.Set("Server", said)
	h.Set("Via", r.Header.Get("Authorization"))
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer resource_metadata="%s?%s", error="invalid_token", error_description="%s"`,
		mcpOrigin+metadataPath, url.QueryEscape(said), strings.NewReplacer(`"`, "", `\`, "").Replace(said)))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": said, "error_description": said})
}

// Rule F1: no secret is shown, though the server sends every one back.
func TestSecrets(t *testing.T) {
	const key, query = "k3y-of-the-caller/+=", "qu3ry-of-the-caller"
	s := newSite()
	s.at["mcp.example.com/mcp"] = func(w http.ResponseWriter, r *http.Request) { echo(w, r, http.StatusUnauthorized) }
	s.resource["resource"] = mcpURL + "?key=" + query
	s.start(t)
	var secrets []string
	s.at["login.example.com/token"] = func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(raw))
		s.mu.Lock()
		secrets = append(secrets, form.Get("code"), form.Get("code_verifier"), form.Get("client_secret"))
		s.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(raw)))
		echo(w, r, http.StatusBadRequest)
	}
	common := Options{URL: mcpURL + "?key=" + query, Transport: s.transport(), Header: http.Header{"X-Key": {key}, "Cookie": {"a=b; session=c00kie-of-the-caller"}}, Origin: pageOrigin}

	withToken := common
	withToken.Token = "t0ken-of-the-caller.x.y"
	r, err := Run(t.Context(), withToken)
	if err != nil {
		t.Fatal(err)
	}
	shown := everything(t, r)

	withLogin := common
	withLogin.Login, withLogin.Browse = true, s.browse(t)
	if r, err = Run(t.Context(), withLogin); err != nil {
		t.Fatal(err)
	}
	shown += everything(t, r)

	secrets = append(secrets, "c00kie-of-the-caller", key, url.QueryEscape(key), query, withToken.Token, "s3cr3t-of-the-client", "session-of-the-site")
	if !strings.Contains(shown, "login.token") || !strings.Contains(shown, "token.a") {
		t.Errorf("the walks stopped before the tokens:\n%s", shown)
	}
	for _, secret := range secrets {
		switch {
		case secret == "":
		case strings.Contains(shown, secret):
			t.Errorf("%q is shown:\n%s", secret, shown)
		}
	}
	for _, r := range s.asked("login.example.com") {
		if r.Header.Get("X-Key") != "" || strings.Contains(r.Header.Get("Authorization"), "t0ken") {
			t.Errorf("the authorization server got %v", r.Header)
		}
	}
	sent := false
	for _, r := range s.asked("mcp.example.com") {
		sent = sent || r.Header.Get("X-Key") == key && r.URL.RawQuery == "key="+query
	}
	if !sent {
		t.Error("the server did not get what is its own")
	}
}

// A login's own secrets are not shown where all goes well either.
func TestSecretsOfLogin(t *testing.T) {
	s := newSite()
	s.start(t)
	r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Login: true, Browse: s.browse(t)})
	if err != nil {
		t.Fatal(err)
	}
	shown := everything(t, r)
	if r.Verdict.State != Healthy || !strings.Contains(shown, "the token is accepted") {
		t.Errorf("got\n%s", shown)
	}
	found := 0
	for _, q := range s.asked("login.example.com") {
		if code := q.URL.Query().Get("code_challenge"); code != "" && strings.Contains(shown, code) {
			t.Errorf("the challenge of PKCE is shown:\n%s", shown)
		}
	}
	for _, q := range s.asked("mcp.example.com") {
		if token, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer "); ok {
			found++
			if strings.Contains(shown, token) {
				t.Errorf("the token is shown:\n%s", shown)
			}
		}
	}
	for code := range s.codes {
		if strings.Contains(shown, code) {
			t.Errorf("the code is shown:\n%s", shown)
		}
	}
	if found == 0 || strings.Contains(shown, "refresh-s3cr3t") || strings.Contains(shown, "s3cr3t-of-the-client") || strings.Contains(shown, "session-of-the-site") {
		t.Errorf("%d messages had the token; shown:\n%s", found, shown)
	}
}

// Nor where an endpoint answers with them in a form that is not understood.
func TestSecretsOfOddEndpoints(t *testing.T) {
	for _, path := range []string{"/token", "/register"} {
		for _, status := range []int{200, 400} {
			s := newSite()
			s.at["login.example.com"+path] = answers(status, "text/plain", "access_token=t0ken-in-a-form&client_secret=t0ken-in-a-form&token_type=bearer")
			s.start(t)
			r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Login: true, Browse: s.browse(t)})
			if err != nil {
				t.Fatal(err)
			}
			if shown := everything(t, r); r.Verdict.Step != stepLogin || strings.Contains(shown, "t0ken-in-a-form") {
				t.Errorf("%s: the verdict is %+v, shown:\n%s", path, r.Verdict, shown)
			}
		}
	}
}

// A redirect that is followed without a token is not followed with one.
func TestSlashRedirectWithToken(t *testing.T) {
	s := newSite()
	s.at["mcp.example.com/mcp"] = http.RedirectHandler("/mcp/", http.StatusPermanentRedirect).ServeHTTP
	s.at["mcp.example.com/mcp/"] = s.endpoint
	s.start(t)
	r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Token: jwtFor(mcpURL, time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, r, Broken, "endpoint.redirect", "not followed with a token", "command line: give clients the URL")
	followed := false
	for _, q := range s.seen {
		if q.URL.Path == "/mcp/" {
			followed = true
			if q.Header.Get("Authorization") != "" {
				t.Error("the token was sent after the redirect")
			}
		}
	}
	if !followed {
		t.Error("the redirect was not followed at all")
	}
}

// Rule F3: no redirect is followed with a token or with the caller's fields, to
// the same origin as little as to another.
func TestRedirectWithToken(t *testing.T) {
	for _, to := range []string{"/elsewhere", "https://other.example.com/elsewhere", "https://mcp.example.com:8443/elsewhere"} {
		s := newSite()
		s.start(t)
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				s.refuse(w, "")
				return
			}
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
		s.at["mcp.example.com"+metadataPath] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/metadata", http.StatusFound)
		}
		s.at["mcp.example.com/metadata"] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, s.resource) }
		r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Token: jwtFor(mcpURL, time.Hour), Header: http.Header{"X-Key": {"k3y-of-the-caller"}}})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, r, Broken, "endpoint.redirect", "not followed with a token", "command line: give clients the URL")
		for _, q := range s.seen {
			secret := q.Header.Get("Authorization") != "" || q.Header.Get("X-Key") != ""
			if strings.HasSuffix(q.URL.Path, "/elsewhere") || secret && q.Host != "mcp.example.com" || q.URL.Path == "/metadata" && secret {
				t.Errorf("%s%s was asked, with %v", q.Host, q.URL.Path, q.Header)
			}
		}
	}
}

// raw is a server that writes bytes.
func raw(t testing.TB, write func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Read(make([]byte, 4<<10))
				write(c)
			})
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return "http://" + l.Addr().String() + "/mcp"
}

// hostileText turns the screen of a terminal over, its title, its clipboard, and
// the direction of writing.
const hostileText = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\u009b31m\u202e\u2066\u200b\xff\xfe\x00\x7f"

// check asserts that a text does nothing to a terminal.
func checkPlain(t testing.TB, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Fatalf("no UTF-8: %q", text)
	}
	for i, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%q at %d in\n%q", r, i, text)
		}
	}
}

// Rule F3: what a hostile server writes does nothing to a terminal, whether it
// stands in a field, in a body, in a document or in an error.
func TestEscapes(t *testing.T) {
	document, err := json.Marshal(hostileText)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{
		"fields": "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer error=\"" + strings.ReplaceAll(hostileText, "\x00", "") + "\"\r\nServer: \x1b[2Jx\u202ey\r\nConnection: close\r\n\r\n",
		"body":   "HTTP/1.1 500 \x1b[2J\r\nContent-Type: text/\x1b[2J\r\nConnection: close\r\n\r\nlogin required " + hostileText,
		"error":  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":" + string(document) + "}}",
		"result": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\"doctor-initialize\",\"result\":{\"serverInfo\":{\"name\":" + string(document) + "}}}",
		"status": "HTTP/1.1 \x1b[2J\r\n\r\n",
		"type":   "HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J" + "\r\nConnection: close\r\n\r\n",
		"moved":  "HTTP/1.1 307 x\r\nLocation: http://example.com/\x1b[2J\u202e\r\nConnection: close\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			at := raw(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) })
			r, err := Run(t.Context(), Options{URL: at, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			checkPlain(t, everything(t, r))
		})
	}
	t.Run("documents", func(t *testing.T) {
		s := newSite()
		s.resource["resource"] = mcpURL + hostileText
		s.resource["authorization_servers"] = []string{issuerURL, hostileText}
		s.server["issuer"] = issuerURL + hostileText
		s.start(t)
		r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport()})
		if err != nil {
			t.Fatal(err)
		}
		checkPlain(t, everything(t, r))
	})
}

// Rule G: an answer that does not end, in its header or its body, fast or slow,
// ends the walk in time, and little of it is kept.
func TestBounds(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for name, write := range map[string]func(net.Conn){
		"endless header": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-More: "+strings.Repeat("x", 1<<10)+"\r\n"); err != nil {
					return
				}
			}
		},
		"endless body": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 401 No\r\nContent-Type: application/json\r\n\r\n")
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
		},
		"endless event": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
		},
		"endless events": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "data: x\n\n"); err != nil {
					return
				}
			}
		},
		"drip": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X"); err != nil {
					return
				}
				time.Sleep(timeout / 10)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r, err := Run(t.Context(), Options{URL: raw(t, write), Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > walkTimeouts*timeout+5*time.Second {
				t.Errorf("it took %s", took)
			}
			if shown := everything(t, r); len(shown) > 64<<10 {
				t.Errorf("the report has %d bytes", len(shown))
			}
			for _, s := range r.Steps {
				for _, e := range s.Exchanges {
					if e.Size > maxBody {
						t.Errorf("%d bytes were kept", e.Size)
					}
				}
			}
		})
	}
}

// A walk that is over before its end is not taken for a healthy server's, and
// one that is interrupted has no report.
func TestCutShort(t *testing.T) {
	s := newSite()
	s.start(t)
	w, err := newWalk(Options{URL: mcpURL, Transport: s.transport(), Timeout: time.Nanosecond}, mcpURL, new(secrets))
	if err != nil {
		t.Fatal(err)
	}
	w.run(t.Context())
	if w.report.Verdict.State == Healthy {
		t.Errorf("got %+v", w.report.Verdict)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		s.refuse(w, "")
	}
	if r, err := Run(ctx, Options{URL: mcpURL, Transport: s.transport()}); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", r, err)
	}
}

// A page that guesses the address of a login under way cannot end it.
func TestCallback(t *testing.T) {
	f := &flow{state: "right", back: make(chan url.Values, 1)}
	for at, want := range map[string]int{"/callback?state=wrong&code=x": 404, "/callback?code=x": 404, "/other?state=right": 404, "/callback?state=right&code=c": 200, "/callback?state=right&code=again": 200} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		if w.Code != want || strings.Contains(w.Body.String(), "right") {
			t.Errorf("%s: got %d %s, want %d", at, w.Code, w.Body, want)
		}
	}
	if q := <-f.back; q.Get("state") != "right" {
		t.Errorf("got %v", q)
	}
}

// What a server chose is shown plainly and without secrets, whatever it is.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", hostileText, "plain", "s3cr3t", "\xe2\x80", strings.Repeat("\x80", 500), strings.Repeat("s3cr3t", 100)} {
		f.Add(seed, "s3cr3t")
	}
	f.Fuzz(func(t *testing.T, text, secret string) {
		s := new(secrets)
		s.add(secret)
		got := s.text(text)
		checkPlain(t, got)
		if len(secret) > len(hidden) && strings.Contains(got, secret) {
			t.Errorf("%q is in %q", secret, got)
		}
		if len(got) > 10*(shownText+len("...")) {
			t.Errorf("%d bytes of %d", len(got), len(text))
		}
		checkPlain(t, s.link(text))
	})
}

// A walk ends with a verdict whatever a server answers.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status                int
		challenge, kind, body string
	}{
		{401, `Bearer resource_metadata="/x"`, "application/json", `{"resource":1,"authorization_servers":{}}`},
		{200, "", "text/event-stream", "event: endpoint\ndata: http://[::1\n\n"},
		{200, "", "application/json", `{"jsonrpc":"2.0","id":1,"result":{"serverInfo":[]}}`},
		{307, "DPoP a=\"", "text/html", "<"},
	} {
		f.Add(seed.status, seed.challenge, seed.kind, seed.body)
	}
	f.Fuzz(func(t *testing.T, status int, challenge, kind, body string) {
		if status < 200 || status > 599 {
			return
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Location", "http://"+r.Host+"/"+body)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		defer server.Close()
		here := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}}
		r, err := Run(t.Context(), Options{URL: server.URL + "/mcp", Timeout: time.Second, Transport: here})
		if err != nil || r.Verdict.State == "" || r.Verdict.Text == "" {
			t.Errorf("got %+v, %v", r, err)
		}
		var text strings.Builder
		if err := r.WriteText(&text, TextOptions{Verbose: true}); err != nil {
			t.Fatal(err)
		}
		checkPlain(t, text.String())
	})
}
