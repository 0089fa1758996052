package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

func TestFitOfAStraightLine(t *testing.T) {
	got := fit([]float64{0, 1, 2, 4}, []float64{1, 3, 5, 9})
	if math.Abs(got.slope-2) > 1e-9 || got.err > 1e-9 || math.Abs(got.mean-4.5) > 1e-9 {
		t.Errorf("got %+v, want slope 2, error 0, mean 4.5", got)
	}
}

// The figures are those of a textbook's formula: slope 0.6, s^2 = 2.4/3, xx = 10.
func TestFitKnowsItsError(t *testing.T) {
	got := fit([]float64{1, 2, 3, 4, 5}, []float64{2, 4, 5, 4, 5})
	if math.Abs(got.slope-0.6) > 1e-9 || math.Abs(got.err-math.Sqrt(0.08)) > 1e-9 {
		t.Errorf("got %+v, want slope 0.6, error %.4f", got, math.Sqrt(0.08))
	}
}

// grown returns rows of an hour in which each value grows evenly by so many.
func grown(by benchkit.Usage) []row {
	var rows []row
	const n = 41
	for i := range n {
		grow := func(from, by int) int { return from + by*i/(n-1) + i%2 } // with some noise
		rows = append(rows, row{at: time.Duration(i) * time.Minute, quiet: benchkit.Usage{
			RSS: grow(100_000, by.RSS), Heap: grow(20_000, by.Heap),
			Goroutines: grow(100, by.Goroutines), Descriptors: grow(40, by.Descriptors), Children: grow(3, by.Children),
		}})
	}
	return rows
}

func TestWhatGrowsIsNotFlat(t *testing.T) {
	if err := judge(grown(benchkit.Usage{})); err != nil {
		t.Errorf("rows that stay the same: %v", err)
	}
	if err := judge(grown(benchkit.Usage{RSS: 4000, Heap: 400, Goroutines: 1, Descriptors: 1})); err != nil {
		t.Errorf("rows that grow within the bounds: %v", err)
	}
	for name, by := range map[string]benchkit.Usage{
		"resident":    {RSS: 8000},
		"heap":        {Heap: 1000},
		"goroutines":  {Goroutines: 8},
		"descriptors": {Descriptors: 8},
		"processes":   {Children: 4},
	} {
		if err := judge(grown(by)); err == nil || !strings.HasPrefix(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s grow: got %v, want an error of these alone", name, err)
		}
	}
	if err := judge(grown(benchkit.Usage{})[:3]); err == nil {
		t.Error("three rows were enough to judge")
	}
}

func TestDrawingHasALineForEachColumn(t *testing.T) {
	svg := string(draw(grown(benchkit.Usage{Heap: 1000})))
	for _, c := range columns {
		if !strings.Contains(svg, c.name) {
			t.Errorf("the drawing has no %q", c.name)
		}
	}
	if got := strings.Count(svg, "<polyline"); got != 2*len(columns)-1 { // the heap has no most
		t.Errorf("got %d lines, want %d", got, 2*len(columns)-1)
	}
}
