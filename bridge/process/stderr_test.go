package process

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStderrIsCutIntoLines(t *testing.T) {
	long := strings.Repeat("x", maxStderrLine)
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{name: "nothing"},
		{name: "lines", in: "a\nb\r\n\n\r\nc", want: []string{"a", "b", "c"}},
		{name: "bytes as they are", in: "\xff\x00 \x1b[0m\n", want: []string{"\xff\x00 \x1b[0m"}},
		{name: "long", in: long + "\na\n", want: []string{long, "a"}},
		{name: "cut", in: long + "yyy\na\n" + long + long + long, want: []string{long, "a", long}},
	} {
		for _, size := range []int{1, 3, 1000, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				var got []string
				run := func() {} // what the goroutine of the calls would do
				s := &stderrLines{spawn: func(f func()) { run = f }}
				s.call = func(line []byte, dropped int) {
					if dropped != 0 {
						t.Errorf("%d dropped", dropped)
					}
					got = append(got, string(line))
				}
				for chunk := range slices.Chunk([]byte(tt.in), size) {
					s.write(slices.Clone(chunk))
					if len(s.line) > maxStderrLine {
						t.Errorf("%d bytes held", len(s.line))
					}
					run()
				}
				s.end()
				run()
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %.100q, want %.100q", got, tt.want)
				}
			})
		}
	}
}

func TestTheRateOfStderrIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines, dropped int
		s := &stderrLines{spawn: func(f func()) { go f() }, call: func(line []byte, n int) {
			if line != nil {
				lines++
			}
			dropped += n
		}}
		check := func(wantLines, wantDropped int) {
			t.Helper()
			synctest.Wait()
			if lines != wantLines || dropped != wantDropped {
				t.Errorf("%d lines, %d dropped, want %d and %d", lines, dropped, wantLines, wantDropped)
			}
		}
		flood := func() { s.write([]byte(strings.Repeat("x\n", 1000))) }
		flood()
		check(50, 0) // those dropped are told with the next
		time.Sleep(time.Second)
		flood()
		check(60, 950)
		time.Sleep(250 * time.Millisecond)
		s.write([]byte("x\n"))
		check(61, 950+990)
		time.Sleep(time.Hour)
		flood()
		check(111, 950+990)
		s.end()
		check(111, 3001-111)
	})
}

// If the function does not return, lines are skipped, and no memory is used for them.
func TestASlowConsumerOfStderrCostsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var lines, dropped int
		s := &stderrLines{spawn: func(f func()) { go f() }, call: func(line []byte, n int) {
			<-release
			if line != nil {
				lines++
			}
			dropped += n
		}}
		for range 1000 {
			s.write([]byte("x\n"))
			time.Sleep(time.Second)
			synctest.Wait()
			if len(s.waiting) > maxStderrWait {
				t.Fatalf("%d lines wait", len(s.waiting))
			}
		}
		s.end()
		close(release)
		synctest.Wait()
		if want := maxStderrWait + 1; lines != want || lines+dropped != 1000 {
			t.Errorf("%d lines, %d dropped, want %d and %d", lines, dropped, want, 1000-want)
		}
	})
}
