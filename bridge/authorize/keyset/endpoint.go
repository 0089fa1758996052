package keyset

import (
	"context"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
)

// NewEndpoint returns a function that finds an endpoint by the metadata of an issuer, and
// remembers it for as long as keys are. While the issuer cannot be asked it fails at once
// for some seconds after each attempt.
func NewEndpoint(client *fetch.Client, issuer string, of func(Metadata) (string, error)) func(context.Context) (string, error) {
	var (
		mu    sync.Mutex
		known string
		found time.Time
		tried time.Time
		last  error
	)
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if known != "" && now.Sub(found) < staleAfter {
			return known, nil
		}
		if last != nil && now.Sub(tried) < betweenFetches {
			if known != "" && now.Sub(found) < staleAfter+outage {
				return known, nil
			}
			return "", last
		}
		tried = now
		meta, err := Discover(ctx, client, issuer)
		at := ""
		if err == nil {
			at, err = of(meta)
		}
		if last = err; err == nil {
			known, found = at, now
		} else if known != "" && now.Sub(found) < staleAfter+outage {
			return known, nil
		}
		return known, err
	}
}
