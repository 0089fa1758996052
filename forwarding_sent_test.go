package mcpauthbridge

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

// A client gets one answer: even if a proxy of a later Caddy tries again after it, nothing is
// sent to an upstream.
func TestNothingIsSentAfterAnAnswer(t *testing.T) {
	f := &forwarding{sent: true, status: http.StatusOK}
	_, err := f.roundTrip(nil, nil, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want what the proxy takes for a client that has left", err)
	}
}
