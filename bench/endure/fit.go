package main

import "math"

// line is a straight line through points.
type line struct {
	slope float64
	err   float64 // standard error of the slope
	mean  float64 // of the values
}

// fit returns the line through points with the least squares. There have to be three points at
// least, at different places.
func fit(x, y []float64) line {
	n := float64(len(x))
	var mx, my float64
	for i := range x {
		mx, my = mx+x[i]/n, my+y[i]/n
	}
	var xx, xy float64
	for i := range x {
		xx += (x[i] - mx) * (x[i] - mx)
		xy += (x[i] - mx) * (y[i] - my)
	}
	slope := xy / xx
	var rest float64
	for i := range x {
		d := y[i] - my - slope*(x[i]-mx)
		rest += d * d
	}
	return line{slope, math.Sqrt(rest / (n - 2) / xx), my}
}
