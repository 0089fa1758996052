package filter

import (
	"bytes"
	"io"
	"net/http"
)

// Guard is [New] for an answer that seldom has anything to change. Messages with one of the words are
// changed, or refused, as [New] does. All else crosses as it is, also what cannot be parsed and what is
// longer than limit. A word is a name in JSON with its quotes, such as `"tools"`.
func Guard(w http.ResponseWriter, limit int, words []string, change Message, header func(http.Header), id []byte) *Writer {
	return &Writer{to: w, header: header, mode: &changer{change: change, limit: limit, id: id, own: w.Header().Clone(), words: words}}
}

// suspects reports whether a text has to be read.
func (c *changer) suspects(text []byte) bool {
	if c.words == nil {
		return true
	}
	for _, word := range c.words {
		if bytes.Contains(text, []byte(word)) {
			return true
		}
	}
	return false
}

// client is the client of an answer.
type client struct {
	io.Writer
	gone bool // it has not taken a part
}

func (c *client) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.gone = c.gone || err != nil
	return n, err
}

// fault returns err if the answer is at fault, and not the client.
func (c *client) fault(err error) error {
	if c.gone {
		return nil
	}
	return err
}

// rest is what follows a text that is too large to be held.
type rest struct {
	*changer
	to   *client
	tail []byte // the end of what was sent, in which a word may begin
}

// write sends the next part. It returns [ErrTooLarge], and sends nothing, if one of the words is
// complete with it.
func (r *rest) write(p []byte) (int, error) {
	longest := 0
	for _, word := range r.words {
		longest = max(longest, len(word))
	}
	head := p[:min(len(p), longest)]
	r.tail = append(r.tail, head...)
	if r.suspects(r.tail) || r.suspects(p) {
		return 0, ErrTooLarge
	}
	if len(p) > len(head) {
		r.tail = append(r.tail[:0], p[len(p)-longest:]...)
	} else {
		r.tail = append(r.tail[:0], r.tail[max(0, len(r.tail)-longest):]...)
	}
	return r.to.Write(p)
}
