package upstream

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// D5c: an idSet has what a map would have, however ids are written and in whatever order they
// come.
func TestIDSetIsASet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	written := []string{"0", "-1", "1.5", "1e3", `"1"`, `"01"`, `""`, `"x"`, "999999999999999998", "999999999999999999", "1000000000000000000", "18446744073709551615", "18446744073709551616"}
	for range 200 {
		var s idSet
		want := make(map[message.Key]struct{})
		for range 60 {
			id := fmt.Sprint(random.IntN(40))
			if random.IntN(3) == 0 {
				id = written[random.IntN(len(written))]
			}
			s.add(message.KeyOf([]byte(id)))
			want[message.KeyOf([]byte(id))] = struct{}{}
			if s.size != len(want) {
				t.Fatalf("after %s: got %d ids, want %d", id, s.size, len(want))
			}
		}
		for n := range 42 {
			written = append(written[:13], fmt.Sprint(n))
			for _, id := range written {
				key := message.KeyOf([]byte(id))
				if _, in := want[key]; s.has(key) != in {
					t.Fatalf("%s: got %t, want %t, of %v", id, s.has(key), in, want)
				}
			}
		}
		for i, r := range s.ranges {
			if r.first > r.last || i > 0 && r.first <= s.ranges[i-1].last+1 {
				t.Fatalf("ranges overlap or meet: %v", s.ranges)
			}
		}
	}
}

// Each session remembers the ids of its answered requests for as long as it lives.
func TestAnsweredRequestsOfACounterTakeOneObject(t *testing.T) {
	ids := make([]message.Key, maxAnswered)
	for n := range ids {
		ids[n] = message.KeyOf(fmt.Append(nil, n+1))
	}
	got := testing.AllocsPerRun(100, func() {
		var a attribution
		for _, id := range ids {
			a.settle(id)
		}
	})
	if got > 1 {
		t.Errorf("%d answered requests took %.0f objects, want 1", len(ids), got)
	}
}
