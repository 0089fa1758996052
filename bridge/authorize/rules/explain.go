package rules

import "fmt"

// Explain explains in one sentence why a request is allowed or refused, and what would allow it.
func (d Decision) Explain() string {
	of := d.Method
	if d.Name != "" {
		of += " " + d.Name
	}
	if of != "" {
		of += ": "
	}
	by := fmt.Sprintf(" (%s)", d.Rule)
	switch d.Reason {
	case Allowed:
		if len(d.Needed) == 0 {
			return of + "allowed" + by
		}
		return of + fmt.Sprintf("allowed, with scope %q", d.Needed.String()) + by
	case Scope:
		return of + fmt.Sprintf("refused, because scope %q is missing; a token with scope %q would be allowed", d.Missing.String(), d.Challenge.String()) + by
	case Denied:
		return of + "refused, because a rule denies it" + by
	case ClaimMissing:
		return of + "refused, because a claim has none of the values" + by
	case ExpressionFalse:
		return of + "refused, because the expression is false" + by
	case ExpressionError:
		return of + fmt.Sprintf("refused, because the expression could not be evaluated: %v", d.Err) + by
	case NoRule:
		return of + "refused, because no rule allows it and the default is deny" + by
	case SharedTasks:
		return of + "refused, because the MCP server is not told who asks and would list the tasks of all; tell it with identity, or allow it with a rule for this method" + by
	case AmbiguousURI:
		return of + "refused, because the URI is encoded too often or has control characters" + by
	}
	return of + "refused" + by
}
