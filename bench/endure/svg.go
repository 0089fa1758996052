package main

import (
	"fmt"
	"math"
	"strings"
)

// Sizes of a drawing, in pixels.
const (
	plotWidth, plotHeight = 760, 110
	plotLeft, plotGap     = 90, 40
)

// draw returns the rows as SVG: a plot for each column, with what was held when it was quiet as a
// full line, and the most under load as a thin one. The part before the judged rows is shaded.
func draw(rows []row) []byte {
	var b strings.Builder
	height := (plotHeight + plotGap) * len(columns)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		plotLeft+plotWidth+20, height+20)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	last := rows[len(rows)-1].at
	x := func(i int) float64 { return plotLeft + plotWidth*rows[i].at.Seconds()/max(1, last.Seconds()) }
	for n, c := range columns {
		top := float64(n*(plotHeight+plotGap) + plotGap/2)
		highest := 1
		for i := range rows {
			highest = max(highest, c.value(&rows[i].quiet), c.value(&rows[i].most))
		}
		scale := roundUp(float64(highest))
		y := func(v int) float64 { return top + plotHeight*(1-float64(v)/scale) }
		warm := x(min(warmUp(len(rows)), len(rows)-1))
		fmt.Fprintf(&b, `<text x="%d" y="%.0f" font-weight="bold">%s</text>`+"\n", plotLeft, top-5, c.name)
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="#eee"/>`+"\n", plotLeft, top, warm-plotLeft, plotHeight)
		fmt.Fprintf(&b, `<path d="M%d %.1fV%.1fH%d" fill="none" stroke="#888"/>`+"\n", plotLeft, top, top+plotHeight, plotLeft+plotWidth)
		fmt.Fprintf(&b, `<text x="%d" y="%.0f" text-anchor="end">%.0f</text><text x="%d" y="%.0f" text-anchor="end">0</text>`+"\n",
			plotLeft-6, top+10, scale, plotLeft-6, top+plotHeight)
		fmt.Fprintf(&b, `<text x="%d" y="%.0f" text-anchor="end">%s</text>`+"\n", plotLeft+plotWidth, top+plotHeight+14, clock(last))
		points := func(of func(*row) int, style string) {
			var p []string
			for i := range rows {
				p = append(p, fmt.Sprintf("%.1f,%.1f", x(i), y(of(&rows[i]))))
			}
			fmt.Fprintf(&b, `<polyline points="%s" fill="none" %s/>`+"\n", strings.Join(p, " "), style)
		}
		if c.most {
			points(func(r *row) int { return c.value(&r.most) }, `stroke="#c60" stroke-width="0.7"`)
		}
		points(func(r *row) int { return c.value(&r.quiet) }, `stroke="#05a" stroke-width="1.8"`)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#05a">quiet</text><text x="%d" y="%d" fill="#c60">most under load</text>`+"\n",
		plotLeft, height+10, plotLeft+60, height+10)
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// roundUp returns the next number that has one digit and zeros, or 2.5 of these.
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10} {
		if v <= f*unit {
			return f * unit
		}
	}
	return v
}
