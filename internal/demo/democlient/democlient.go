// Package democlient logs the go-sdk's client in at a demo without a browser.
package democlient

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// redirectURI is where the authorization server sends the browser; nothing
// listens there, the code is read from the redirect itself.
const redirectURI = "http://127.0.0.1:1/callback"

// NewAuth returns the SDK's own handler of the authorization code flow, with
// dynamic client registration; client makes all its requests.
func NewAuth(client *http.Client) (auth.OAuthHandler, error) {
	return auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName:              "go-sdk",
				RedirectURIs:            []string{redirectURI},
				GrantTypes:              []string{"authorization_code", "refresh_token"},
				ResponseTypes:           []string{"code"},
				TokenEndpointAuthMethod: "none",
			},
		},
		RedirectURL:         redirectURI,
		RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			return Consent(ctx, client, args.URL)
		},
		Client: client,
	})
}

var (
	form   = regexp.MustCompile(`<form method="?post"? action="([^"]+)"`)
	hidden = regexp.MustCompile(`<input type="?hidden"? name="([^"]+)" value="([^"]*)"`)
)

// Consent visits an authorization URL, agrees to what the page asks, and
// returns what the redirect to the client carries.
func Consent(ctx context.Context, client *http.Client, at string) (*auth.AuthorizationResult, error) {
	browser := *client
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser.Jar = jar
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	for range 10 {
		res, err := browser.Do(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		_ = res.Body.Close()
		if err != nil {
			return nil, err
		}
		location := res.Header.Get("Location")
		switch {
		case strings.HasPrefix(location, redirectURI):
			return result(location)
		case location != "":
			to, err := req.URL.Parse(location)
			if err != nil {
				return nil, err
			}
			req, err = http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
			if err != nil {
				return nil, err
			}
		default:
			action := form.FindSubmatch(body)
			if action == nil {
				return nil, fmt.Errorf("authorization page answered %s: %.200s", res.Status, body)
			}
			to, err := req.URL.Parse(html.UnescapeString(string(action[1])))
			if err != nil {
				return nil, err
			}
			values := url.Values{"user": {"alice"}, "consent": {"yes"}}
			for _, input := range hidden.FindAllSubmatch(body, -1) {
				values.Set(html.UnescapeString(string(input[1])), html.UnescapeString(string(input[2])))
			}
			req, err = http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(values.Encode()))
			if err != nil {
				return nil, err
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	return nil, errors.New("too many redirects")
}

func result(location string) (*auth.AuthorizationResult, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if q.Get("error") != "" {
		return nil, fmt.Errorf("authorization server answered %s: %s", q.Get("error"), q.Get("error_description"))
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

// Connect logs in at a Streamable HTTP endpoint and returns a session.
func Connect(ctx context.Context, endpoint string, client *http.Client) (*mcp.ClientSession, error) {
	handler, err := NewAuth(client)
	if err != nil {
		return nil, err
	}
	return mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(ctx, &mcp.StreamableClientTransport{Endpoint: endpoint, HTTPClient: client, OAuthHandler: handler}, nil)
}

// Authorize is a round tripper for transports of the SDK that know nothing of
// OAuth (HTTP+SSE): it sends tokens and logs in at a 401 or 403.
type Authorize struct {
	Base    http.RoundTripper
	Handler auth.OAuthHandler
	// Resource is the endpoint; messages go to another URL, which is none.
	Resource *url.URL
}

// RoundTrip implements http.RoundTripper.
func (a *Authorize) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := a.send(req)
	if err != nil || res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
		return res, err
	}
	asked := req.Clone(req.Context())
	asked.URL = a.Resource
	if err := a.Handler.Authorize(req.Context(), asked, res); err != nil {
		return nil, err
	}
	return a.send(req)
}

func (a *Authorize) send(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	source, err := a.Handler.TokenSource(req.Context())
	if err != nil {
		return nil, err
	}
	if source != nil {
		token, err := source.Token()
		if err != nil {
			return nil, err
		}
		token.SetAuthHeader(out)
	}
	return a.Base.RoundTrip(out)
}

// ConnectSSE logs in at an HTTP+SSE endpoint and returns a session.
func ConnectSSE(ctx context.Context, endpoint string, client *http.Client) (*mcp.ClientSession, error) {
	handler, err := NewAuth(client)
	if err != nil {
		return nil, err
	}
	resource, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	authorized := &http.Client{Transport: &Authorize{Base: client.Transport, Handler: handler, Resource: resource}}
	return mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(ctx, &mcp.SSEClientTransport{Endpoint: endpoint, HTTPClient: authorized}, nil)
}
