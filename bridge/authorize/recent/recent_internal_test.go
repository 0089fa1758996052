package recent

import (
	"fmt"
	"testing"
	"time"
)

// A cache that is full forgets, in entries and in bytes, and an entry that is used stays.
func TestCacheIsBounded(t *testing.T) {
	for name, tc := range map[string]struct{ max, maxSize, size int }{
		"entries": {1000, 1 << 30, 10},
		"bytes":   {1 << 30, 10_000, 10},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			c := New[int](tc.max, tc.maxSize)
			kept := Of("kept")
			c.Add(kept, 7, now.Add(time.Hour), tc.size)
			check := func() {
				t.Helper()
				sum, newer := 0, 0
				for _, e := range c.newer {
					newer += e.size
				}
				for _, e := range c.old {
					sum += e.size
				}
				if all := len(c.newer) + len(c.old); all > tc.max || sum+newer > tc.maxSize || newer != c.size {
					t.Fatalf("%d entries of %d bytes; counted %d of %d", all, sum+newer, c.size, newer)
				}
			}
			for n := range 4000 {
				c.Add(Of(fmt.Sprint(n%3500)), n, now.Add(time.Minute), tc.size+n%2)
				if n%100 == 0 {
					if v, ok := c.Get(kept, now); !ok || v != 7 {
						t.Fatalf("lost what is in use, after %d others", n)
					}
				}
				check()
			}
			if _, ok := c.Get(kept, now.Add(time.Hour)); ok {
				t.Error("found what has ended")
			}
			c.Drop(Of("3999"))
			check()
		})
	}
}

// Names differ with the token and with each of the other texts.
func TestNamesDiffer(t *testing.T) {
	seen := map[Name]string{}
	for name, of := range map[string]Name{
		"a": Of("a"), "b": Of("b"), "a,": Of("a", ""), "a,b": Of("a", "b"), "a,b,": Of("a", "b", ""), "a,bc": Of("a", "bc"), "a,b,c": Of("a", "b", "c"),
	} {
		if other, ok := seen[of]; ok {
			t.Errorf("%s is %s", name, other)
		}
		seen[of] = name
	}
}
