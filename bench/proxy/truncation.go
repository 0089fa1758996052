package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
)

// countTruncated sends n requests of all kinds through a configuration and
// counts the answers that are not whole.
func countTruncated(ctx context.Context, m *machine, through string, n int) error {
	index := slices.IndexFunc(configurations, func(c configuration) bool { return c.name == through })
	if index < 0 {
		return fmt.Errorf("-through: no configuration is named %q", through)
	}
	t, err := m.start(ctx, index)
	if err != nil {
		return err
	}
	defer t.stop()
	if err := t.countTruncated(ctx, n); err != nil {
		return t.err(err)
	}
	return nil
}

func (t *target) countTruncated(ctx context.Context, n int) error {
	for _, tc := range mixed {
		if err := t.verify(tc); err != nil {
			return fmt.Errorf("%s: %w", tc.name, err)
		}
	}
	l := newLoad(t.addr, t.index)
	defer l.close()
	tallies := l.run(ctx, mixed, n)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "request\tsent\tshort\tfailed\tretried\t")
	var total tally
	var errs []error
	for i, tc := range mixed {
		got := tallies[i]
		total.add(got)
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", tc.name, got.sent, got.short, got.failed, got.retried)
		if got.first != nil {
			errs = append(errs, fmt.Errorf("%s: %w", tc.name, got.first))
		}
	}
	_, _ = fmt.Fprintf(w, "all\t%d\t%d\t%d\t%d\t\n", total.sent, total.short, total.failed, total.retried)
	if err := w.Flush(); err != nil {
		return err
	}
	return errors.Join(append(errs, ctx.Err())...)
}
