package origin

import (
	"strings"
	"sync/atomic"
)

// maxMemo bounds, in bytes, the text that a [Memo] keeps.
const maxMemo = 2 << 10

// Memo is [Parse] for texts that are mostly the same: it remembers the last one. The zero value
// is ready to use.
type Memo struct{ last atomic.Pointer[parsed] }

type parsed struct {
	text string
	url  URL
}

// Parse returns what [Parse] returns.
func (m *Memo) Parse(text string) (URL, error) {
	if last := m.last.Load(); last != nil && last.text == text {
		return last.url, nil
	}
	if len(text) > maxMemo {
		return Parse(text)
	}
	text = strings.Clone(text) // so that the rest of an answer is not kept with it
	u, err := Parse(text)
	if err == nil {
		m.last.Store(&parsed{text, u})
	}
	return u, err
}
