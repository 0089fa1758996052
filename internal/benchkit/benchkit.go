// Package benchkit has what the programs below bench/ share: they build and start Caddy,
// ask its admin API, read what it holds, and compare rounds.
package benchkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build returns binary, or the path of a Caddy that it builds in dir if binary is empty.
func Build(ctx context.Context, binary, dir string) (string, error) {
	if binary != "" {
		return binary, nil
	}
	binary = filepath.Join(dir, "caddy")
	return binary, BuildAt(ctx, binary)
}

// BuildAt builds Caddy with this module. flags are those of go build.
func BuildAt(ctx context.Context, path string, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/cmd/caddy")...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// FreeAddr returns a loopback address that nothing listens on, with a port below those that
// systems give to connections.
func FreeAddr() (string, error) {
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port")
}

// Final is an error that ends Poll at once.
type Final struct{ error }

// Stop returns err as one that ends Poll at once.
func Stop(err error) error { return Final{err} }

// Poll calls f until it returns nil, but no longer than limit. The error says what f said
// last.
func Poll(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		var final Final
		if err == nil || errors.As(err, &final) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", limit, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Serving waits until a process that was started listens on an address.
func Serving(ctx context.Context, addr string, limit time.Duration, exited <-chan struct{}) error {
	return Poll(ctx, limit, func() error {
		select {
		case <-exited:
			return Stop(errors.New("it has ended"))
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// ClosedByServer reports whether an error says that the other side closed the connection.
func ClosedByServer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) || // by Go's client, which has seen its end
		strings.Contains(err.Error(), "server closed idle connection")
}

// Tail keeps the end of what a process writes, for an error.
type Tail struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 8<<10 {
		t.b = append([]byte(nil), t.b[len(t.b)-4<<10:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// Spread is a median, and the lowest and the highest value.
type Spread struct{ Median, Low, High float64 }

// SpreadOf returns the spread of values. That of none is not a number.
func SpreadOf(values []float64) Spread {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return Spread{(values[n/2] + values[(n-1)/2]) / 2, values[0], values[n-1]}
}

// Text returns the median with so many decimals, and the other two with one less.
func (s Spread) Text(decimals int) string {
	return fmt.Sprintf("%.*f (%.*f-%.*f)", decimals, s.Median, decimals-1, s.Low, decimals-1, s.High)
}
