package credential

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

// A cache that is full forgets, and an entry that is used stays.
func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	var c cache
	kept := name(sha256.Sum256([]byte("kept")))
	c.add(kept, entry{until: now.Add(time.Hour)})
	for n := range 4 * maxRemembered {
		c.add(sha256.Sum256([]byte(fmt.Sprint(n))), entry{until: now.Add(time.Minute)})
		if n%1000 == 0 {
			if _, ok := c.get(kept, now); !ok {
				t.Fatalf("lost what is in use, after %d others", n)
			}
		}
		if len(c.newer)+len(c.old) > maxRemembered {
			t.Fatalf("%d entries", len(c.newer)+len(c.old))
		}
	}
	if _, ok := c.get(kept, now.Add(time.Hour)); ok {
		t.Error("found what has ended")
	}
	if len(c.newer)+len(c.old) > maxRemembered {
		t.Errorf("%d entries", len(c.newer)+len(c.old))
	}
}
