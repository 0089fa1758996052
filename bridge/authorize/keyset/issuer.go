package keyset

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
)

// Metadata has the members that are used of the metadata of an issuer (RFC 8414, section 2).
type Metadata struct {
	Issuer        string `json:"issuer"`
	Keys          string `json:"jwks_uri"`
	Introspection string `json:"introspection_endpoint"`
	Token         string `json:"token_endpoint"`
}

// MetadataURLs returns where the metadata of an issuer may be, in the order in which to ask:
// RFC 8414, section 3.1; OpenID Connect Discovery 1.0 in the form of RFC 8414, section 5; and
// in its own form, section 4.1.
func MetadataURLs(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("the issuer %q is not a URL with https:// and without query and fragment", fetch.Safe(issuer))
	}
	const (
		oauth  = "/.well-known/oauth-authorization-server"
		openid = "/.well-known/openid-configuration"
	)
	base, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	if path == "" {
		return []string{base + oauth, base + openid}, nil
	}
	return []string{base + oauth + path, base + openid + path, base + path + openid}, nil
}

// Discover returns the metadata of an issuer. It refuses a document whose issuer is not the
// configured one, byte for byte (RFC 8414, section 3.3), and a document that names an endpoint
// without TLS for an issuer with TLS. An endpoint on another host is allowed.
func Discover(ctx context.Context, client *fetch.Client, issuer string) (Metadata, error) {
	places, err := MetadataURLs(issuer)
	if err != nil {
		return Metadata{}, err
	}
	var missing error
	for _, at := range places {
		doc, err := client.Get(ctx, at)
		if notThere(err) {
			missing = err
			continue
		}
		if err != nil {
			return Metadata{}, err
		}
		meta, err := parseMetadata(doc, issuer)
		if err != nil {
			return Metadata{}, fmt.Errorf("the metadata at %s: %w", fetch.Safe(at), err)
		}
		return meta, nil
	}
	return Metadata{}, missing
}

// notThere reports whether another place is to be asked. A server that fails or that cannot
// be reached is not asked elsewhere: the next place might have an older document.
func notThere(err error) bool {
	if errors.Is(err, fetch.ErrNotJSON) {
		return true // a website that answers every path
	}
	status := new(fetch.StatusError)
	return errors.As(err, &status) && status.Status >= 400 && status.Status < 500 && status.Status != http.StatusTooManyRequests
}

func parseMetadata(doc []byte, issuer string) (Metadata, error) {
	var meta Metadata
	if err := json.Unmarshal(doc, &meta); err != nil {
		return meta, errors.New("it is not a JSON object with the members of RFC 8414")
	}
	if meta.Issuer != issuer {
		return meta, fmt.Errorf("its issuer is %q; write exactly that as `issuer` if it is the right one", shorten(fetch.Safe(meta.Issuer)))
	}
	for name, at := range map[string]string{"jwks_uri": meta.Keys, "introspection_endpoint": meta.Introspection, "token_endpoint": meta.Token} {
		if at == "" {
			continue
		}
		if u, err := url.Parse(at); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(issuer, "https:")) {
			return meta, fmt.Errorf("its %s is not a URL with https://", name)
		}
	}
	return meta, nil
}

// OfIssuer returns a function for [New] that finds the keys by the metadata of the issuer. It
// asks for both each time, so that an issuer may move its keys.
func OfIssuer(client *fetch.Client, issuer string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		meta, err := Discover(ctx, client, issuer)
		if err != nil {
			return nil, err
		}
		if meta.Keys == "" {
			return nil, errors.New("the metadata of the issuer has no jwks_uri; write `jwks <url>`")
		}
		return client.Get(ctx, meta.Keys)
	}
}

// At returns a function for [New] that gets the keys from a URL.
func At(client *fetch.Client, at string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) { return client.Get(ctx, at) }
}

// maxShown bounds, in bytes, a text of an issuer in an error.
const maxShown = 200

func shorten(text string) string {
	if len(text) > maxShown {
		return text[:maxShown] + "..."
	}
	return text
}
