package tasks

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"
)

// E7: a task belongs to the principals that were given it. One that nobody was given belongs
// to nobody.
func TestOwners(t *testing.T) {
	var g Given
	if g.Refuses("alice", "one") {
		t.Error("an unknown task is refused")
	}
	g.Give("alice", "one")
	if g.Refuses("alice", "one") || !g.Refuses("bob", "one") || g.Refuses("bob", "two") {
		t.Error("a task does not belong to its principal alone")
	}
	// Servers that count their tasks, each session from one, give an id to several.
	g.Give("bob", "one")
	if g.Refuses("alice", "one") || g.Refuses("bob", "one") || !g.Refuses("carol", "one") {
		t.Error("a task that two were given does not belong to both")
	}
}

// E7: an id that a server may take for that of a task is the id of that task.
func TestSpellings(t *testing.T) {
	for id, others := range map[string][]string{
		"786512e2-9e0d-44bd-8f29-789f320fe840": {
			"786512E2-9E0D-44BD-8F29-789F320FE840", "786512e29e0d44bd8f29789f320fe840", "{786512e2-9e0d-44bd-8f29-789f320fe840}",
			"urn:uuid:786512e2-9e0d-44bd-8f29-789f320fe840", "URN:UUID:786512e2-9e0d-44bd-8f29-789f320fe840", " 786512e2-9e0d-44bd-8f29-789f320fe840\n",
			"786512e2-9e0d-44bd-8f29-789f320fe840\x00x",
		},
		"task-aB": {"TASK-AB", "task-ab ", "taſk-ab"},
		"7":       {" 7"},
	} {
		var g Given
		g.Give("alice", id)
		for _, other := range others {
			if !g.Refuses("bob", other) || g.Refuses("alice", other) {
				t.Errorf("%q is not taken for %q", other, id)
			}
		}
		for _, other := range []string{id + "1", "x" + id, "task-aBc", "786512e2-9e0d-44bd-8f29-789f320fe841"} {
			if g.Refuses("bob", other) {
				t.Errorf("%q is taken for %q", other, id)
			}
		}
	}
}

// E7, G: a principal can have only its own tasks forgotten, the oldest first.
func TestBounds(t *testing.T) {
	const most = 5000
	g := Given{most: most}
	g.Give("alice", "alice 1")
	g.Give("alice", "alice 2")
	for i := range 2 * maxOfOne {
		g.Give("mallory", fmt.Sprint("mallory ", i))
	}
	if g.Refuses("bob", fmt.Sprint("mallory ", maxOfOne-1)) || !g.Refuses("bob", fmt.Sprint("mallory ", maxOfOne)) || g.holders[hashOf("mallory")].n != maxOfOne {
		t.Error("the oldest tasks of one who has too many are not forgotten")
	}
	for i := range most + most/4 { // each of many principals has more than alice
		g.Give(fmt.Sprint("mallory ", i/10), fmt.Sprint("mallory ", i))
	}
	if len(g.entries) != most {
		t.Errorf("%d tasks are remembered, want %d", len(g.entries), most)
	}
	if !g.Refuses("bob", "alice 1") || !g.Refuses("bob", "alice 2") {
		t.Error("others have had the tasks of a principal forgotten")
	}
	check(t, &g)
}

// E7: a task that is given again counts as new.
func TestGivenAgain(t *testing.T) {
	var g Given
	for i := range maxOfOne {
		g.Give("alice", strconv.Itoa(i))
	}
	g.Give("alice", "0")
	g.Give("alice", "next")
	if !g.Refuses("bob", "0") || g.Refuses("bob", "1") || !g.Refuses("bob", "2") {
		t.Error("it is not the oldest task that is forgotten")
	}
	check(t, &g)
}

// check compares what is kept in several places.
func check(t *testing.T, g *Given) {
	t.Helper()
	owners, n := make(map[hash]int), 0
	for name, h := range g.holders {
		if h.name != name || g.ranks[h.rank] != h || h.n == 0 || h.n > maxOfOne {
			t.Fatalf("%+v is not the principal %x", h, name)
		}
		count, last := 0, uint64(0)
		for e := h.oldest; e != nil; e = e.newer {
			if e.owner != name || g.entries[e.pair] != e || e.number <= last || e.newer == nil && h.newest != e || e.newer != nil && e.newer.older != e {
				t.Fatalf("%+v does not stand in its list", e)
			}
			owners[e.task]++
			count, last = count+1, e.number
		}
		if count != h.n {
			t.Fatalf("%d tasks are in the list, and %d are counted", count, h.n)
		}
		n += count
		if h.n > g.ranks[0].n {
			t.Fatalf("the first principal has %d tasks, and another %d", g.ranks[0].n, h.n)
		}
	}
	if n != len(g.entries) || len(g.ranks) != len(g.holders) || len(owners) != len(g.owners) {
		t.Fatalf("%d entries, %d principals and %d tasks; want %d, %d and %d", len(g.entries), len(g.ranks), len(g.owners), n, len(g.holders), len(owners))
	}
	for task, count := range owners {
		if g.owners[task] != count {
			t.Fatalf("a task has %d owners, want %d", g.owners[task], count)
		}
	}
}

// What is kept in several places stays the same whatever is given to whom.
func TestGivenAtRandom(t *testing.T) {
	var g Given
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 6_000 {
		owner := strconv.Itoa(random.IntN(5))
		if slices.Contains([]string{"0", "1"}, owner) { // two have many tasks, the others the same few
			g.Give(owner, strconv.Itoa(random.IntN(3000)))
		} else {
			g.Give(owner, strconv.Itoa(random.IntN(10)))
		}
		if i%1000 == 0 {
			check(t, &g)
		}
	}
	check(t, &g)
}

// G: what all tasks hold together is bounded, however long their ids are.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const most = 10_000
	g := &Given{most: most}
	for i := range most + 1 { // each task has an owner of its own, which holds most
		g.Give(fmt.Sprint("owner ", i), fmt.Sprintf("%0100d", i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int(after.HeapAlloc) - int(before.HeapAlloc); held/most > 16<<20/maxInAll {
		t.Errorf("%d tasks hold %d bytes", len(g.entries), held)
	} else {
		t.Logf("%d bytes for each task", held/len(g.entries))
	}
	runtime.KeepAlive(g)
}

// FuzzForm checks that the form of an id is the form of that form, and does not depend on case.
func FuzzForm(f *testing.F) {
	f.Add("786512e2-9e0d-44bd-8f29-789f320fe840")
	f.Add("{urn:uuid:786512E29E0D44BD8F29789F320FE840} ")
	f.Add(" ſ\x00")
	f.Fuzz(func(t *testing.T, id string) {
		got := form(id)
		var g Given
		g.Give("alice", id)
		if g.Refuses("alice", id) || !g.Refuses("bob", id) || len(got) > 3*len(id) {
			t.Fatalf("%q becomes %q", id, got)
		}
	})
}
