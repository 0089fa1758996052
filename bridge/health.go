package bridge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// Failure is why an upstream gave no answer. The set is closed.
type Failure string

// The failures.
const (
	FailureRefused Failure = "refused" // nothing listens there
	FailureTimeout Failure = "timeout"
	FailureName    Failure = "name"   // the host has no address
	FailureBroken  Failure = "broken" // the connection ended, or TLS or HTTP failed on it
)

// Failures lists them.
var Failures = []Failure{FailureRefused, FailureTimeout, FailureName, FailureBroken}

// maxDown bounds the addresses of upstreams that are known to give no answer.
const maxDown = 64

// health knows which addresses of the upstream give no answer.
type health struct {
	down  atomic.Int32 // how many; requests look no further while it is 0
	mu    sync.Mutex
	since map[string]time.Time
}

// RoundTrip asks the upstream, as [record.Record.RoundTrip] does, and notes whether it
// answers at all.
func (x *Exchange) RoundTrip(req *http.Request, rt record.RoundTripFunc) (*http.Response, error) {
	x.Outcome = nil
	res, err := x.Record.RoundTrip(req, rt)
	e := x.endpoint
	if e == nil || e.cfg.Observer == nil {
		return res, err
	}
	switch {
	case err == nil && e.health.down.Load() != 0:
		e.health.back(x.Dial, e.cfg.Observer)
	case err != nil && req.Context().Err() == nil && !x.ClientFailed():
		e.health.failed(x.Dial, failureOf(err), e.cfg.Observer)
	}
	return res, err
}

func (h *health) failed(address string, why Failure, o Observer) {
	h.mu.Lock()
	_, known := h.since[address]
	if !known && len(h.since) < maxDown {
		if h.since == nil {
			h.since = make(map[string]time.Time)
		}
		h.since[address] = time.Now()
		h.down.Store(int32(len(h.since)))
	} else {
		known = true
	}
	h.mu.Unlock()
	if !known {
		o.UpstreamFailed(address, why)
	}
}

func (h *health) back(address string, o Observer) {
	h.mu.Lock()
	since, known := h.since[address]
	delete(h.since, address)
	h.down.Store(int32(len(h.since)))
	h.mu.Unlock()
	if known {
		o.UpstreamBack(address, time.Since(since))
	}
}

// failureOf puts an error of a round trip into the closed set.
func failureOf(err error) Failure {
	var netErr net.Error
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return FailureName
	}
	is := func(target error) bool {
		// A proxy's own error may hide what it is about in all but its text.
		return errors.Is(err, target) || strings.Contains(err.Error(), ": "+target.Error())
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout(), is(os.ErrDeadlineExceeded):
		return FailureTimeout
	case is(syscall.ECONNREFUSED), is(syscall.ENOENT):
		return FailureRefused
	case strings.Contains(err.Error(), ": no such host"): // net's text on every system
		return FailureName
	}
	return FailureBroken
}
