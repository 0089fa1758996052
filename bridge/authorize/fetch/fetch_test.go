package fetch_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
)

// What is not a JSON document of bounded size is an error of its own, without the query of
// the URL, and a redirect is not followed.
func TestAnswersThatAreNotDocuments(t *testing.T) {
	json := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"a document": {json(200, ` {"a":1} `), nil},
		"a JWK set": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jwk-set+json")
			_, _ = w.Write([]byte(`{"a":1}`))
		}, nil},
		"a website":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, fetch.ErrNotJSON},
		"a failure":   {json(500, "{}"), &fetch.StatusError{Status: 500}},
		"not there":   {json(404, "{}"), &fetch.StatusError{Status: 404}},
		"long":        {json(200, strings.Repeat(" ", fetch.MaxBody+1)), fetch.ErrTooLarge},
		"just fits":   {json(200, strings.Repeat(" ", fetch.MaxBody-7)+`{"a":1}`), nil},
		"a redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, fetch.ErrRedirect},
		"no redirect": {json(304, ""), fetch.ErrRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(tc.handler)
			defer s.Close()
			c := fetch.New(nil)
			defer c.Close()
			body, err := c.Get(t.Context(), s.URL+"/doc?secret=1")
			var status *fetch.StatusError
			switch {
			case tc.want == nil && (err != nil || string(body) != `{"a":1}`):
				t.Errorf("got %.20q, %v", body, err)
			case errors.As(tc.want, &status):
				got := new(fetch.StatusError)
				if !errors.As(err, &got) || got.Status != status.Status {
					t.Errorf("got %v; want %v", err, tc.want)
				}
			case !errors.Is(err, tc.want):
				t.Errorf("got %v; want %v", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the query: %v", err)
			}
		})
	}
}

// RFC 6749 section 2.3.1: the credentials are in the header, form-encoded, or in the form, and
// never in both.
func TestFormIsPostedWithCredentials(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(r.Header.Get("Authorization") + "|" + r.PostForm.Encode()))
	}))
	defer s.Close()
	c := fetch.New(nil)
	defer c.Close()
	form := url.Values{"a": {"b c", "d"}}
	for name, tc := range map[string]struct {
		as   fetch.Credentials
		want string
	}{
		"none":   {fetch.Credentials{}, "|a=b+c&a=d"},
		"header": {fetch.Credentials{ID: "edge ", Secret: "x:y"}, "Basic " + base64.StdEncoding.EncodeToString([]byte("edge+:x%3Ay")) + "|a=b+c&a=d"},
		"body":   {fetch.Credentials{ID: "edge ", Secret: "x:y", InBody: true}, "|a=b+c&a=d&client_id=edge+&client_secret=x%3Ay"},
	} {
		status, body, err := c.PostForm(t.Context(), s.URL, form, tc.as)
		if err != nil || status != 400 || string(body) != tc.want {
			t.Errorf("%s: got %d %s, %v; want %s", name, status, body, err, tc.want)
		}
	}
	if len(form) != 1 {
		t.Errorf("the form of the caller has %v", form)
	}
	s.Close()
	if _, _, err := c.PostForm(t.Context(), s.URL+"/?secret=1", nil, fetch.Credentials{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
