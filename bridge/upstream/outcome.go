package upstream

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// OutcomeTaker is a response writer that takes what became of the challenge of the request
// that a bridge made to answer a client's.
type OutcomeTaker interface{ TakeOutcome(o *stats.Outcome) }

// PassOutcome gives w an outcome, if w takes that. Without a challenge there is none.
func PassOutcome(w http.ResponseWriter, o *stats.Outcome) {
	if taker, ok := w.(OutcomeTaker); ok && o != nil {
		taker.TakeOutcome(o)
	}
}
