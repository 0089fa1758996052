// Package fetch asks an authorization server for JSON documents, within bounds.
//
// The addresses come from the operator or from a document of an issuer that the operator
// trusts, never from a client.
package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Timeout bounds one request with its answer.
const Timeout = 10 * time.Second

// MaxBody bounds, in bytes, the body of an answer.
const MaxBody = 256 << 10

// maxHeader bounds, in bytes, the header of an answer, where the transport is this
// package's own.
const maxHeader = 32 << 10

// userAgent is sent with each request.
const userAgent = "mcp_auth_bridge"

// Errors of a request. Each is wrapped in an error that names the URL without its query.
var (
	ErrRedirect = errors.New("the answer is a redirect, which is not followed: configure the URL that it leads to")
	ErrNotJSON  = errors.New("the answer is not JSON")
	ErrTooLarge = fmt.Errorf("the answer is longer than %d bytes", MaxBody)
)

// StatusError is the error for an answer whose status is not the expected one.
type StatusError struct {
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the answer has status %d", e.Status)
}

// Client sends requests. It follows no redirect, sends no cookie, and takes no proxy from
// the environment unless the transport does.
type Client struct {
	http *http.Client
}

// New returns a client that sends with transport. If transport is nil it makes its own.
func New(transport http.RoundTripper) *Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes = maxHeader
		transport = t
	}
	return &Client{http: &http.Client{
		Transport: transport,
		Timeout:   Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// Close closes the idle connections of the client.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get returns the JSON document at a URL. Its status has to be 200.
func (c *Client) Get(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", Safe(at), errors.Unwrap(err))
	}
	status, body, err := c.do(req)
	if err == nil && status != http.StatusOK {
		err = &StatusError{Status: status}
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", Safe(at), err)
	}
	return body, nil
}

// Credentials authenticate the edge as a client of the issuer (RFC 6749, section 2.3.1).
type Credentials struct {
	ID, Secret string
	// InBody sends them in the form (client_secret_post), in place of HTTP Basic
	// (client_secret_basic).
	InBody bool
}

// PostForm posts a form with the credentials, if there are any, and returns status and body
// of the answer, whatever its status.
func (c *Client) PostForm(ctx context.Context, at string, form url.Values, as Credentials) (status int, body []byte, err error) {
	if as.ID != "" && as.InBody {
		form = maps.Clone(form)
		form.Set("client_id", as.ID)
		form.Set("client_secret", as.Secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", Safe(at), errors.Unwrap(err))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if as.ID != "" && !as.InBody {
		req.SetBasicAuth(url.QueryEscape(as.ID), url.QueryEscape(as.Secret))
	}
	if status, body, err = c.do(req); err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", Safe(at), err)
	}
	return status, body, nil
}

func (c *Client) do(req *http.Request) (status int, body []byte, err error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	res, err := c.http.Do(req)
	if err != nil {
		// A url.Error has the whole URL, with its query.
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return 0, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return 0, nil, ErrRedirect
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, MaxBody+1))
	switch {
	case err != nil:
		return 0, nil, err
	case len(body) > MaxBody:
		return 0, nil, ErrTooLarge
	case res.StatusCode == http.StatusOK && !isJSON(res.Header.Get("Content-Type")):
		return 0, nil, ErrNotJSON
	}
	return res.StatusCode, bytes.TrimSpace(body), nil
}

// isJSON reports whether a media type is one of JSON: application/json, or one with the
// suffix +json (RFC 6839, section 3.1).
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// Safe returns a URL without user, query and fragment, for logs and errors.
func Safe(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a URL that does not parse"
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment, u.ForceQuery = nil, "", "", "", false
	return u.String()
}
