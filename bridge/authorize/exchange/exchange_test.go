package exchange

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// tokenServer is a transport that answers token exchanges. It waits for nothing.
type tokenServer struct {
	mu     sync.Mutex
	status int
	body   string // %d is the number of the request
	header http.Header
	err    error
	held   chan struct{} // an answer waits until it is closed
	forms  []url.Values
}

func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if r.Header.Get("Authorization") != "" {
		form.Set("header", r.Header.Get("Authorization"))
	}
	s.forms = append(s.forms, form)
	n, status, text, held := len(s.forms), s.status, s.body, s.held
	failed := s.err
	w := httptest.NewRecorder()
	for name, values := range s.header {
		w.Header()[name] = values
	}
	s.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if failed != nil {
		return nil, failed
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strings.ReplaceAll(text, "%d", fmt.Sprint(n)))
	return w.Result(), nil
}

func (s *tokenServer) set(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *tokenServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.forms)
}

const (
	issuer = "https://login.example.com"
	usable = `{"access_token":"new-%d","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":300}`
)

func newExchanger(t *testing.T, s *tokenServer) *Exchanger {
	client := fetch.New(s)
	t.Cleanup(client.Close)
	return New(Config{
		Client: client, Issuers: []string{issuer}, URL: issuer + "/token", Credentials: fetch.Credentials{ID: "edge", Secret: "edge-secret"},
		Audience: []string{"files", "notes"}, Resource: []string{"https://files.internal/mcp"}, Scope: []string{"read", "write"}, Requested: AccessToken,
	})
}

func alice(expires time.Time) *principal.Principal {
	return &principal.Principal{Kind: principal.Token, Issuer: issuer, Subject: "alice", Expires: expires}
}

// E6: the request is that of RFC 8693 section 2.1, with the credentials of the edge.
func TestRequest(t *testing.T) {
	s := &tokenServer{status: 200, body: usable}
	x := newExchanger(t, s)
	got, _, refusal := x.Token(t.Context(), alice(time.Now().Add(time.Hour)), "theirs")
	if refusal != nil || got != "new-1" {
		t.Fatalf("got %q, %v", got, refusal)
	}
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"theirs"},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:access_token"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"audience":             {"files", "notes"}, "resource": {"https://files.internal/mcp"}, "scope": {"read write"},
		"header": {"Basic " + base64.StdEncoding.EncodeToString([]byte("edge:edge-secret"))},
	}
	if s.forms[0].Encode() != want.Encode() {
		t.Errorf("got  %s\nwant %s", s.forms[0].Encode(), want.Encode())
	}
}

// E6: a token is used until shortly before its end, and no longer than that of the client
// lives.
func TestHowLongATokenIsUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		expires string
		theirs  time.Duration
		want    time.Duration
	}{
		"its own end":               {`,"expires_in":300`, time.Hour, 290 * time.Second},
		"the client's":              {`,"expires_in":300`, time.Minute, time.Minute},
		"the client's has no end":   {`,"expires_in":300`, 0, 290 * time.Second},
		"short":                     {`,"expires_in":10`, time.Hour, 9 * time.Second},
		"a fraction":                {`,"expires_in":10.9`, time.Hour, 9 * time.Second},
		"not known":                 {``, time.Hour, time.Minute},
		"long":                      {`,"expires_in":1e18`, time.Hour, time.Hour},
		"long, without another end": {`,"expires_in":1e300`, 0, maxAge*time.Second - early},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &tokenServer{status: 200, body: strings.Replace(usable, `,"expires_in":300`, tc.expires, 1)}
				x := newExchanger(t, s)
				p := alice(time.Time{})
				if tc.theirs > 0 {
					p.Expires = time.Now().Add(tc.theirs)
				}
				token := func() string {
					got, _, _ := x.Token(t.Context(), p, "theirs")
					return got
				}
				first := token()
				time.Sleep(tc.want - time.Millisecond)
				before := token()
				time.Sleep(time.Millisecond)
				if after := token(); first != "new-1" || before != "new-1" || after != "new-2" {
					t.Errorf("got %q, %q before the end and %q after it", first, before, after)
				}
			})
		})
	}
}

// E6: a refusal is remembered for 10 seconds, and that the issuer could not be asked is not.
func TestRefusalsAreRememberedShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokenServer{status: 400, body: `{"error":"invalid_grant"}`}
		x := newExchanger(t, s)
		ask := func() *principal.Refusal {
			_, _, refusal := x.Token(t.Context(), alice(time.Time{}), "theirs")
			return refusal
		}
		if r := ask(); r == nil || r.Code != principal.InvalidToken {
			t.Fatalf("got %v", r)
		}
		s.set(200, usable)
		time.Sleep(refusedAge - time.Millisecond)
		if r := ask(); r == nil || s.asked() != 1 {
			t.Errorf("asked %d times, got %v", s.asked(), r)
		}
		time.Sleep(time.Millisecond)
		if r := ask(); r != nil {
			t.Errorf("got %v", r)
		}
		time.Sleep(time.Hour)
		s.set(503, "")
		if r := ask(); r == nil || r.Code != principal.Unavailable || r.RetryAfter <= 0 {
			t.Errorf("got %v", r)
		}
		s.set(200, usable)
		if r := ask(); r != nil {
			t.Errorf("right after an outage: got %v", r)
		}
	})
}

// E6: a token that the MCP server refuses is dropped, once in a minute for each token of a
// client, so that a server that refuses every token does not have the issuer asked each time.
func TestRefusedTokensAreDroppedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokenServer{status: 200, body: usable}
		x := newExchanger(t, s)
		ask := func() (string, Issued) {
			token, issued, refusal := x.Token(t.Context(), alice(time.Time{}), "theirs")
			if refusal != nil {
				t.Fatal(refusal)
			}
			return token, issued
		}
		_, first := ask()
		x.Refused(first)
		x.Refused(first) // another request with it
		token, second := ask()
		if token != "new-2" {
			t.Fatalf("got %q", token)
		}
		x.Refused(first) // late, and about a token that is not used any more
		x.Refused(second)
		if token, _ := ask(); token != "new-2" {
			t.Errorf("dropped again at once: got %q", token)
		}
		time.Sleep(betweenDrops)
		x.Refused(second)
		if token, _ := ask(); token != "new-3" {
			t.Errorf("after a minute: got %q", token)
		}
		x.Refused(Issued{})
		if token, _ := ask(); token != "new-3" {
			t.Errorf("got %q", token)
		}
	})
}

// E6: what an answer means for the client. No answer gives it, or the log, a secret, and no
// answer but a usable one gives a token.
func TestAnswers(t *testing.T) {
	const accessToken, jwt = `"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"`, `"issued_token_type":"urn:ietf:params:oauth:token-type:jwt"`
	ok := func(members string) string { return `{"access_token":"new",` + members + `}` }
	for name, tc := range map[string]struct {
		status int
		body   string
		code   principal.Code // empty: a token
		cause  string
	}{
		"usable":                   {200, ok(accessToken + `,"token_type":"Bearer"`), "", ""},
		"lower case":               {200, ok(accessToken + `,"token_type":"bearer","expires_in":1,"scope":"read","refresh_token":"x"`), "", ""},
		"a JWT":                    {200, ok(jwt + `,"token_type":"Bearer"`), "", ""},
		"a refresh token":          {200, ok(`"issued_token_type":"urn:ietf:params:oauth:token-type:refresh_token","token_type":"Bearer"`), principal.IssuerFault, "issued_token_type"},
		"an ID token":              {200, ok(`"issued_token_type":"urn:ietf:params:oauth:token-type:id_token","token_type":"N_A"`), principal.IssuerFault, "issued_token_type"},
		"no type":                  {200, ok(`"token_type":"Bearer"`), principal.IssuerFault, "issued_token_type"},
		"N_A":                      {200, ok(accessToken + `,"token_type":"N_A"`), principal.IssuerFault, `"N_A", not Bearer`},
		"bound by DPoP":            {200, ok(accessToken + `,"token_type":"DPoP"`), principal.IssuerFault, `"DPoP", not Bearer`},
		"no token_type":            {200, ok(accessToken), principal.IssuerFault, "token_type"},
		"no token":                 {200, `{` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "no access_token"},
		"a token that is a number": {200, `{"access_token":1,` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "no access_token"},
		"a token with a line":      {200, `{"access_token":"a\r\nX-Evil: 1",` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "no access_token"},
		"a token with a space":     {200, `{"access_token":"a b",` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "no access_token"},
		"a long token":             {200, `{"access_token":"` + strings.Repeat("a", 16<<10+1) + `",` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "longer than"},
		"the client's":             {200, `{"access_token":"theirs-secret",` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "that of the client"},
		"two tokens":               {200, `{"access_token":"other",` + ok(accessToken + `,"token_type":"Bearer"`)[1:], principal.IssuerFault, "twice"},
		"another case":             {200, `{"Access_Token":"new",` + accessToken + `,"token_type":"Bearer"}`, principal.IssuerFault, "no access_token"},
		"ended":                    {200, ok(accessToken + `,"token_type":"Bearer","expires_in":0`), principal.IssuerFault, "expires_in"},
		"negative":                 {200, ok(accessToken + `,"token_type":"Bearer","expires_in":-5`), principal.IssuerFault, "expires_in"},
		"a text":                   {200, ok(accessToken + `,"token_type":"Bearer","expires_in":"300"`), principal.IssuerFault, "expires_in"},
		"null":                     {200, ok(accessToken + `,"token_type":"Bearer","expires_in":null`), principal.IssuerFault, "expires_in"},
		"no object":                {200, `[]`, principal.IssuerFault, "JSON"},
		"nothing":                  {200, ``, principal.IssuerFault, "JSON"},
		"created":                  {201, ok(accessToken + `,"token_type":"Bearer"`), principal.IssuerFault, "status 201"},
		"a redirect":               {302, ``, principal.IssuerFault, "redirect"},
		"a long answer":            {200, strings.Repeat(" ", fetch.MaxBody+1), principal.IssuerFault, "longer than"},

		"invalid_grant":           {400, `{"error":"invalid_grant","error_description":"theirs-secret of edge-secret is revoked, header ` + base64.StdEncoding.EncodeToString([]byte("edge:edge-secret")) + `"}`, principal.InvalidToken, "is revoked"},
		"invalid_request":         {400, `{"error":"invalid_request"}`, principal.InvalidToken, "invalid_request"},
		"invalid_token":           {400, `{"error":"invalid_token"}`, principal.InvalidToken, "invalid_token"},
		"invalid_target":          {400, `{"error":"invalid_target"}`, principal.IssuerFault, "invalid_target"},
		"invalid_scope":           {400, `{"error":"invalid_scope"}`, principal.IssuerFault, "invalid_scope"},
		"access_denied":           {403, `{"error":"access_denied"}`, principal.IssuerFault, "access_denied"},
		"invalid_client":          {401, `{"error":"invalid_client"}`, principal.IssuerFault, "invalid_client"},
		"unauthorized_client":     {400, `{"error":"unauthorized_client"}`, principal.IssuerFault, "unauthorized_client"},
		"unsupported_grant_type":  {400, `{"error":"unsupported_grant_type"}`, principal.IssuerFault, "unsupported_grant_type"},
		"an unknown code":         {400, `{"error":"` + strings.Repeat("x", 1000) + `"}`, principal.IssuerFault, "xxx"},
		"a code with a line":      {400, `{"error":"a\nb"}`, principal.IssuerFault, `a\\n`},
		"no code":                 {400, `{}`, principal.IssuerFault, "no `error`"},
		"a code that is a list":   {400, `{"error":["invalid_grant"]}`, principal.IssuerFault, "no `error`"},
		"two codes":               {400, `{"error":"invalid_grant","error":"invalid_client"}`, principal.IssuerFault, "no `error`"},
		"a page":                  {404, `<html>`, principal.IssuerFault, "status 404"},
		"out of order":            {500, `{"error":"invalid_grant"}`, principal.Unavailable, "status 500"},
		"away":                    {503, ``, principal.Unavailable, "status 503"},
		"too many":                {429, `{"error":"slow_down"}`, principal.Unavailable, "status 429"},
		"temporarily_unavailable": {400, `{"error":"temporarily_unavailable"}`, principal.Unavailable, "temporarily"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &tokenServer{status: tc.status, body: tc.body}
			got, issued, refusal := newExchanger(t, s).Token(t.Context(), alice(time.Now().Add(time.Hour)), "theirs-secret")
			if tc.code == "" {
				if refusal != nil || got != "new" {
					t.Fatalf("got %q, %v", got, refusal)
				}
				return
			}
			if refusal == nil || refusal.Code != tc.code || got != "" || issued != (Issued{}) {
				t.Fatalf("got %q, %+v; want %s", got, refusal, tc.code)
			}
			switch text := refusal.Error(); {
			case !strings.Contains(text, tc.cause) || refusal.Reason.Text() == "":
				t.Errorf("got %q; want %q", text, tc.cause)
			case strings.Contains(text, "secret") || strings.Contains(text, "ZWRnZTpl") || len(text) > 1000 || strings.ContainsAny(text, "\r\n"):
				t.Errorf("the error has a secret, or is long: %q", text)
			}
		})
	}
}

// E6: what is not HTTP, or not JSON, and what the metadata says.
func TestWhereTokensAreExchanged(t *testing.T) {
	failed := errors.New("no route")
	for name, tc := range map[string]struct {
		metadata string
		want     principal.Code
		cause    string
	}{
		"as the metadata says": {`"token_endpoint":"https://login.example.com/oauth/token"`, "", ""},
		"another host":         {`"token_endpoint":"https://tokens.example.net/token"`, "", ""},
		"none":                 {`"jwks_uri":"https://login.example.com/keys"`, principal.Unavailable, "write `token exchange <url>`"},
		"without TLS":          {`"token_endpoint":"http://login.example.com/token"`, principal.Unavailable, "https://"},
		"of another issuer":    {`"issuer":"https://evil.example.com","token_endpoint":"https://login.example.com/token"`, principal.Unavailable, "evil.example.com"},
		"not to be had":        {"", principal.Unavailable, "no route"},
	} {
		t.Run(name, func(t *testing.T) {
			var reports []error
			var posted string
			client := fetch.New(roundTrip(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				w.Header().Set("Content-Type", "application/json")
				switch {
				case tc.metadata == "":
					return nil, failed
				case r.Method == http.MethodPost:
					posted = r.URL.String()
					_, _ = io.WriteString(w, strings.ReplaceAll(usable, "%d", "1"))
				case strings.Contains(tc.metadata, `"issuer"`):
					_, _ = io.WriteString(w, "{"+tc.metadata+"}")
				default:
					_, _ = io.WriteString(w, `{"issuer":"`+issuer+`",`+tc.metadata+"}")
				}
				return w.Result(), nil
			}))
			x := New(Config{Client: client, Issuers: []string{issuer}, Requested: AccessToken, Audience: []string{"a"}, Report: func(_ string, err error) { reports = append(reports, err) }})
			got, _, refusal := x.Token(t.Context(), alice(time.Time{}), "theirs")
			switch {
			case tc.want == "":
				if got != "new-1" || !strings.Contains(tc.metadata, posted) || len(reports) != 0 {
					t.Errorf("got %q from %q, %v; reports %v", got, posted, refusal, reports)
				}
			case refusal == nil || refusal.Code != tc.want || !strings.Contains(refusal.Error(), tc.cause) || posted != "":
				t.Errorf("got %q from %q, %v", got, posted, refusal)
			case len(reports) != 1 || reports[0] == nil:
				t.Errorf("reports: %v", reports)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// E9: that an issuer does not exchange tokens is reported, and that it does again.
func TestReports(t *testing.T) {
	s := &tokenServer{status: 200, body: usable}
	var reports []string
	x := newExchanger(t, s)
	x.cfg.Report = func(of string, err error) { reports = append(reports, fmt.Sprint(of, " ", err != nil)) }
	n := 0
	ask := func() {
		n++
		_, _, _ = x.Token(t.Context(), alice(time.Time{}), fmt.Sprint("theirs", n))
	}
	ask()
	s.set(400, `{"error":"invalid_grant"}`) // which is about one token
	ask()
	s.set(500, "")
	ask()
	s.set(401, `{"error":"invalid_client"}`)
	ask()
	s.set(200, usable)
	ask()
	ask()
	if want := fmt.Sprint([]string{issuer + " true", issuer + " true", issuer + " false"}); fmt.Sprint(reports) != want {
		t.Errorf("got %v, want %s", reports, want)
	}
}

// E6: invalid_request can mean the token of the client and the request of the edge. A client is told
// to log in once; if a token that was issued since is refused in the same way, its login was not what
// is wrong. After an hour, or after a token was exchanged, that begins again.
func TestLoginThatDoesNotHelp(t *testing.T) {
	for _, code := range []string{"invalid_request", "invalid_token"} {
		synctest.Test(t, func(t *testing.T) {
			s := &tokenServer{status: 400, body: `{"error":"` + code + `"}`}
			x := newExchanger(t, s)
			of := func(subject string, issuedBefore time.Duration) *principal.Principal {
				p := alice(time.Now().Add(24 * time.Hour))
				p.Subject = subject
				if issuedBefore >= 0 {
					p.Claims = map[string]any{"iat": json.Number(fmt.Sprint(time.Now().Add(-issuedBefore).Unix()))}
				}
				return p
			}
			want := func(what string, p *principal.Principal, raw string, code principal.Code, reason principal.Reason) {
				t.Helper()
				time.Sleep(refusedAge) // the last refusal is forgotten
				if _, _, refusal := x.Token(t.Context(), p, raw); refusal == nil && code != "" || refusal != nil && (refusal.Code != code || refusal.Reason != reason) {
					t.Errorf("%s, %s: got %+v, want %s", s.body, what, refusal, code)
				}
			}
			again := func(code principal.Code) principal.Reason {
				if code == principal.InvalidToken {
					return principal.NotExchanged
				}
				return principal.ExchangeFailed
			}
			login, fault := principal.InvalidToken, principal.IssuerFault
			want("the first token", of("alice", time.Hour), "one", login, again(login))
			want("the same token", of("alice", time.Hour), "one", login, again(login))
			want("another one of the same age, of another client", of("alice", time.Hour), "old", login, again(login))
			want("the token of the next login", of("alice", 0), "two", fault, again(fault))
			want("a token that does not say when", of("alice", -1), "three", fault, again(fault))
			want("another user", of("bob", 0), "of bob", login, again(login))
			told := of("carol", time.Hour)
			told.Kind = principal.Introspected
			want("a token that the issuer has just called active", told, "of carol", fault, again(fault))
			s.set(200, usable)
			want("it is exchanged", of("alice", 0), "two", "", "")
			s.set(400, `{"error":"`+code+`"}`)
			want("after that", of("alice", 0), "four", login, again(login))
			time.Sleep(loginAge)
			want("an hour later", of("alice", 0), "five", login, again(login))
		})
	}
}
