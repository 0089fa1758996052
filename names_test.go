package mcpauthbridge

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// Endpoints that look alike are told apart.
func TestEndpointNames(t *testing.T) {
	var all []*Handler
	for range 3 {
		all = append(all, &Handler{place: new(atomic.Pointer[placement]), described: &site.Handler{Path: "/mcp"}})
	}
	all[2].base = publicBase{origin: "https://mcp.example.com"}
	settlePlaces(all)
	if got := fmt.Sprint(all[0].label(), " ", all[1].label(), " ", all[2].label()); got != "/mcp /mcp#2 https://mcp.example.com/mcp" {
		t.Errorf("got %s", got)
	}
}
