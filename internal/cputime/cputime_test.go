package cputime

import (
	"runtime"
	"testing"
	"time"
)

func work(rounds int) func() {
	return func() {
		x := uint64(1)
		for range rounds {
			x = x*6364136223846793005 + 1442695040888963407
		}
		if x == 0 {
			panic("unlikely")
		}
	}
}

func TestRatio(t *testing.T) {
	if got := Ratio(12, work(1<<22), work(1<<25)); got < 4 || got > 12 {
		t.Errorf("eight times the work took %.1f times as long", got)
	}
	if got := Ratio(12, work(1<<20), work(1<<25)); got < 16 {
		t.Errorf("32 times the work took %.1f times as long; a limit of 12 must not hide it", got)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if got := Ratio(2, work(1<<22), func() { work(1 << 22)(); time.Sleep(20 * time.Millisecond) }); got > 2 {
		t.Errorf("sleep counts: %.1f times as long", got)
	}
}

func TestRounds(t *testing.T) {
	for limit, want := range map[float64]int{1e9: minRounds, -1: maxRounds} {
		n := 0
		Ratio(limit, func() {}, func() { n++ })
		if n != want {
			t.Errorf("limit %v: %d rounds, want %d", limit, n, want)
		}
	}
}
