package bridge

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// HealthChange is an address of the upstream that has begun or ceased to fail.
type HealthChange struct {
	Address string
	// Failure is why the address gives no answer. It is empty if the address answers again.
	Failure stats.Failure
	// Down is how long the address gave no answer, if it answers again.
	Down time.Duration
}

// maxDown bounds the addresses of upstreams that are known to give no answer.
const maxDown = 64

// health remembers which addresses of the upstream give no answer.
type health struct {
	down  atomic.Int32 // their number, so that requests need no lock while it is 0
	mu    sync.Mutex
	since map[string]time.Time
}

// failed notes that an address gave no answer. It returns nil if that was known, or if too
// many addresses are known to fail.
func (h *health) failed(address string, why stats.Failure) *HealthChange {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.since[address]; known || len(h.since) >= maxDown {
		return nil
	}
	if h.since == nil {
		h.since = make(map[string]time.Time)
	}
	h.since[address] = time.Now()
	h.down.Store(int32(len(h.since)))
	return &HealthChange{Address: address, Failure: why}
}

// back notes that an address has answered. It returns nil if the address was not known to
// fail.
func (h *health) back(address string) *HealthChange {
	h.mu.Lock()
	defer h.mu.Unlock()
	since, known := h.since[address]
	if !known {
		return nil
	}
	delete(h.since, address)
	h.down.Store(int32(len(h.since)))
	return &HealthChange{Address: address, Down: time.Since(since)}
}

// failureOf puts an error of a round trip into the closed set.
func failureOf(err error) stats.Failure {
	var netErr net.Error
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return stats.FailureName
	}
	is := func(target error) bool {
		// A proxy's own error may have its cause in its text only.
		return errors.Is(err, target) || strings.Contains(err.Error(), ": "+target.Error())
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout(), is(os.ErrDeadlineExceeded):
		return stats.FailureTimeout
	case is(syscall.ECONNREFUSED), is(syscall.ENOENT):
		return stats.FailureRefused
	case strings.Contains(err.Error(), ": no such host"): // net's text on every system
		return stats.FailureName
	case strings.Contains(err.Error(), "tls: first record does not look like a TLS handshake"):
		return stats.FailureNoTLS
	case strings.Contains(err.Error(), "tls: failed to verify certificate: "):
		return stats.FailureCertificate
	}
	return stats.FailureBroken
}
