package principal

import (
	"fmt"
	"maps"
	"slices"
)

// Hierarchy says which scopes include others. The zero value has no such scope.
type Hierarchy struct {
	// implied has all scopes that a scope includes, directly or by way of others.
	implied map[string]Scopes
}

// NewHierarchy makes a hierarchy of the scopes that each scope includes directly. A scope
// that includes itself, also by way of others, is an error, and so is a text that is no
// scope.
func NewHierarchy(implies map[string][]string) (Hierarchy, error) {
	h := Hierarchy{implied: make(map[string]Scopes, len(implies))}
	for _, scope := range slices.Sorted(maps.Keys(implies)) {
		for _, one := range append([]string{scope}, implies[scope]...) {
			if !IsScope(one) {
				return Hierarchy{}, fmt.Errorf("implies: %q is no scope: write scopes without spaces, quotes and backslashes", one)
			}
		}
		all := NewScopes(implies[scope]...)
		for i := 0; i < len(all); i++ { // all grows
			all = all.With(implies[all[i]]...)
		}
		if all.Has(scope) {
			return Hierarchy{}, fmt.Errorf("implies: scope %q implies itself: remove one line of the circle", scope)
		}
		h.implied[scope] = all
	}
	return h, nil
}

// Holder returns the scope by which held includes a scope: the scope itself, or the first
// one of held that implies it.
func (h Hierarchy) Holder(held Scopes, scope string) (holder string, ok bool) {
	if held.Has(scope) {
		return scope, true
	}
	for _, one := range held {
		if h.implied[one].Has(scope) {
			return one, true
		}
	}
	return "", false
}

// Expand returns the scopes with all that they imply behind them.
func (h Hierarchy) Expand(held Scopes) Scopes {
	all := held.With()
	for _, scope := range held {
		if implied := h.implied[scope]; len(implied) > 0 {
			all = all.With(implied...)
		}
	}
	return all
}

// Includes reports whether held includes all of needed, by itself or by implication.
func (h Hierarchy) Includes(held, needed Scopes) bool {
	for _, scope := range needed {
		if _, ok := h.Holder(held, scope); !ok {
			return false
		}
	}
	return true
}

// Missing returns those of needed that held does not include, by itself or by implication.
func (h Hierarchy) Missing(held, needed Scopes) Scopes {
	var missing Scopes
	for _, scope := range needed {
		if _, ok := h.Holder(held, scope); !ok {
			missing = append(missing, scope)
		}
	}
	return missing
}

// Ask returns the scopes to ask an authorization server for, so that the new token includes
// all of needed: the needed scopes, with a scope that held includes by implication alone
// replaced by the one that implies it.
func (h Hierarchy) Ask(held, needed Scopes) Scopes {
	ask := make([]string, 0, len(needed))
	for _, scope := range needed {
		if holder, ok := h.Holder(held, scope); ok {
			scope = holder
		}
		ask = append(ask, scope)
	}
	return NewScopes(ask...)
}
