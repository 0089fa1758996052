package rules

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

const (
	// maxPattern bounds a pattern, in bytes.
	maxPattern = 4 << 10
	// maxStars bounds the `*` of a pattern.
	maxStars = 16
)

// wildcard stands in a pattern for any text.
const wildcard = "*"

// pattern is a name with wildcards.
type pattern struct {
	parts   []string // the texts between the wildcards
	literal int      // their length: how specific the pattern is
}

func newPattern(text string) pattern {
	p := pattern{parts: strings.Split(text, wildcard)}
	for _, part := range p.parts {
		p.literal += len(part)
	}
	return p
}

// matches reports whether a name matches. The pattern has a wildcard.
func (p pattern) matches(name string) bool {
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(name) < p.literal || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}

// table finds the rules of a name, the most specific first.
type table struct {
	exact map[string][]*rule
	globs []glob
	many  bool // rules may have the same pattern
}

type glob struct {
	pattern

	rule *rule
}

// add adds a rule by one of its patterns.
func (t *table) add(text string, r *rule) error {
	switch {
	case text == "":
		return errors.New(`empty pattern: write a name, or "*" for all`)
	case t.many: // what stands for a pattern may be longer than it
	case len(text) > maxPattern:
		return fmt.Errorf("pattern %.20q...: write at most %d bytes", text, maxPattern)
	case strings.Count(text, wildcard) > maxStars:
		return fmt.Errorf("pattern %q: write at most %d wildcards", text, maxStars)
	}
	if !strings.Contains(text, wildcard) {
		if !t.many && slices.ContainsFunc(t.exact[text], r.repeats) {
			return twice(text)
		}
		if t.exact == nil {
			t.exact = make(map[string][]*rule)
		}
		t.exact[text] = append(t.exact[text], r)
		return nil
	}
	g := glob{newPattern(text), r}
	if !t.many && slices.ContainsFunc(t.globs, func(o glob) bool { return slices.Equal(o.parts, g.parts) && o.rule.repeats(r) }) {
		return twice(text)
	}
	t.globs = append(t.globs, g)
	return nil
}

// addAll adds a rule by several patterns that stand for one. Rules may have the same, so that there
// is no error: each counts.
func (t *table) addAll(r *rule, patterns ...string) {
	for _, pattern := range patterns {
		_ = t.add(pattern, r)
	}
}

func twice(text string) error {
	return fmt.Errorf("pattern %q has another rule: write one rule with all needs, and remove the other", text)
}

// repeats reports whether two rules may not have the same pattern: only one that denies under
// a condition may stand beside another.
func (r *rule) repeats(o *rule) bool {
	return !(r.deny && r.when != nil) && !(o.deny && o.when != nil)
}

// sort puts the most specific patterns first.
func (t *table) sort() {
	slices.SortStableFunc(t.globs, func(a, b glob) int { return b.literal - a.literal })
}

// empty reports whether the table has no rules.
func (t *table) empty() bool { return len(t.exact)+len(t.globs) == 0 }

// tiers yields the rules of a name: those that are equally specific together, the most
// specific first. What is yielded is in scratch, which the next tier overwrites.
func (t *table) tiers(name string, scratch *[]*rule) iter.Seq[[]*rule] {
	return func(yield func([]*rule) bool) {
		if exact := t.exact[name]; len(exact) > 0 && !yield(exact) {
			return
		}
		tier := (*scratch)[:0]
		literal := 0
		for _, g := range t.globs {
			if len(tier) > 0 && g.literal < literal {
				if !yield(tier) {
					return
				}
				tier = tier[:0]
			}
			if g.matches(name) && !slices.Contains(tier, g.rule) {
				tier, literal = append(tier, g.rule), g.literal
				*scratch = tier
			}
		}
		if len(tier) > 0 {
			yield(tier)
		}
	}
}
