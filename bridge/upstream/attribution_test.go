package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Rule D5c: an answer with another id is used for a request only if no other message that was
// sent can have caused it. The steps are: `>1` sends a request with the id 1, `>` sends a
// message without an id, `+20s` lets time pass, `<"1"` receives an answer with the id "1".
// After `=` is the decision: the id of the request, `exact` for an answer with the right id,
// `?1,2` for the candidates, and `-` if there are none.
func TestAnAnswerWithAnotherIDIsMatchedOnlyIfItIsCertain(t *testing.T) {
	for name, steps := range map[string]string{
		"as it should be":                   `>1 <1=exact >2 >"a" <"a"=exact <2=exact`,
		"another way to write it":           `>1 <1.0=exact`,
		"text becomes a number":             `>"1" <1="1"`,
		"a number becomes text":             `>1 <"1"=1`,
		"a number becomes 0":                `>42 <0=42`,
		"an id becomes null":                `>"a" <null="a"`,
		"an id becomes an empty text":       `>"a" <""="a"`,
		"an id of its own":                  `>"a" <"b"=?"a"`,
		"a number of its own":               `>5 <1=?5`,
		"no request waits":                  `<1=- >1 <1=exact <2=- <null=-`,
		"answered twice":                    `>1 <1=exact <1=-`,
		"answered twice beside another":     `>1 <1=exact >2 <1=?2 <2=exact`,
		"two under way":                     `>"1" >"2" <1=?"1","2" <2=?"1","2"`,
		"one that was given up":             `>1 >2 <"2"=?1,2`,
		"one that was never answered":       `>1 +1h >2 <"2"=?1,2 <1=exact <"2"=2`,
		"again and again":                   `>"1" <1="1" > >"2" <2="2" >"3" <3="3" >"a" <"a"=exact`,
		"0 again and again":                 `>1 <0=1 > >2 <0=?2 <2=exact >3 <0=?3`,
		"null again":                        `>1 <null=1 >2 <null=?2`,
		"a message without an id before":    `> >42 <0=?42`,
		"and similar":                       `> >"42" <42="42"`,
		"0 as text":                         `>"0" <0="0"`,
		"0 as text, a message before":       `> >"0" <0=?"0"`,
		"0 as text, long after one":         `> +11s >"0" <0="0"`,
		"0 as text, made up before":         `>"a" <0="a" >"0" <0=?"0"`,
		"numbers were ids as well":          `>1 <1=exact >"2" <2="2"`,
		"this number was an id":             `>2 <2=exact >"2" <2=?"2"`,
		"this text was an id":               `>"2" <"2"=exact >2 <"2"=?2`,
		"similar, and both wait":            `>"x" <null="x" >"1" >1 <1=?"1",1`,
		"similar, of a server that changes": `>1 >"1" <1=exact`, // nothing says that it does
		"made up before, and now an id":     `>0 <0=exact >1 <0=?1 >0 <0=?0,1`,
		"a subscription":                    `>1 &1 >2 <"2"=?2 <2=exact <null=- <1=exact`,
		"the same kind of answer, sent off": `>1 !1 >2 <"2"=2`,
	} {
		t.Run(name, func(t *testing.T) {
			var a attribution
			now := time.Now()
			for step := range strings.FieldsSeq(steps) {
				what, want, _ := strings.Cut(step[1:], "=")
				id := message.KeyOf([]byte(what))
				switch step[0] {
				case '>':
					a.send(id, []byte(what), now)
				case '&':
					a.subscribe(id)
				case '!':
					a.unsend(id)
				case '+':
					d, err := time.ParseDuration(what)
					if err != nil {
						t.Fatal(err)
					}
					now = now.Add(d)
				case '<':
					if got := decided(&a, id, now); got != want {
						t.Fatalf("%s: got %s, want %s", step, got, want)
					}
				}
			}
		})
	}
}

// decided returns the decision on an answer, as the steps of the test above write it.
func decided(a *attribution, id message.Key, now time.Time) string {
	var v verdict
	ok := false
	open := make(map[message.Key]string)
	for key, written := range a.unanswered {
		open[key] = string(written)
	}
	if id == "" {
		v = a.unknownID(id, now)
	} else if v, ok = a.withID(id, now); ok {
		return "exact"
	}
	switch {
	case v.hold:
		a.accept(message.KeyOf(v.id))
		return string(v.id)
	case v.id != nil:
		return string(v.id)
	case len(v.candidates) == 0:
		return "-"
	}
	var all []string
	for _, key := range v.candidates {
		all = append(all, open[key])
	}
	slices.Sort(all)
	return "?" + strings.Join(all, ",")
}

// If more requests were sent than are remembered, no answer is used for another request.
func TestWhatIsRememberedOfRequestsIsBounded(t *testing.T) {
	var a attribution
	now := time.Now()
	for n := range maxUnanswered + 10 {
		id := []byte(fmt.Sprint(n))
		a.send(message.KeyOf(id), id, now)
	}
	if len(a.unanswered) != maxUnanswered || !a.overflow {
		t.Errorf("got %d, more %t", len(a.unanswered), a.overflow)
	}
	for n := range maxUnanswered {
		if v, ok := a.withID(message.KeyOf([]byte(fmt.Sprint(n))), now); !ok || v.id == nil {
			t.Fatalf("%d: got %+v, %t", n, v, ok)
		}
	}
	id := []byte(`"last"`)
	a.send(message.KeyOf(id), id, now)
	if v := a.unknownID("", now); v.id != nil || len(v.candidates) != 1 {
		t.Errorf("got %+v", v)
	}
	if v, ok := a.withID(message.KeyOf([]byte(fmt.Sprint(maxUnanswered+1))), now); !ok || v.id != nil {
		t.Errorf("one that is not known: got %+v, %t", v, ok)
	}
	if a.answered.size != maxAnswered {
		t.Errorf("%d answered ids are kept", a.answered.size)
	}
	if id := message.KeyOf([]byte("999999")); !a.wasUsed(id) || a.wasUsed(otherKind(id)) {
		t.Error("past the bound a number may have been an id, and a text not")
	}
	var b attribution
	long := []byte(`"` + strings.Repeat("x", 2*maxKnownID) + `"`)
	b.send(message.KeyOf(long), long, now)
	if len(b.unanswered) > 0 || !b.overflow {
		t.Errorf("an id of %d bytes is kept", len(long))
	}
	for n := range 10 * maxInvented {
		b.unknownID(message.KeyOf([]byte(fmt.Sprint(n))), now)
	}
	if len(b.invented) > maxInvented {
		t.Errorf("%d invented ids are kept", len(b.invented))
	}
}

// changers are the ways in which servers change ids.
var changers = []func(message.Key) message.Key{
	func(id message.Key) message.Key { return id },
	func(id message.Key) message.Key { // text to number
		if n := message.KeyOf([]byte(id[1:])); id[0] == 's' && n != "" {
			return n
		}
		return id
	},
	func(id message.Key) message.Key { return "s" + id[1:] },
	func(message.Key) message.Key { return "n0" },
	func(message.Key) message.Key { return "" },
	func(id message.Key) message.Key { // numbers to 0
		if id[0] == 'n' {
			return "n0"
		}
		return id
	},
}

// FuzzAttribution plays a bad server: it changes ids, answers out of order, twice, late or
// never, and answers notifications. An answer with an unknown id must only be used for the
// request that caused it.
func FuzzAttribution(f *testing.F) {
	f.Add(byte(0), []byte{0, 2, 0, 2})
	f.Add(byte(1), []byte{0, 2, 1, 0, 0, 2, 3})
	f.Add(byte(3), []byte{0, 2, 1, 0, 4, 2, 3, 3})
	f.Fuzz(func(t *testing.T, kind byte, script []byte) {
		change := changers[int(kind)%len(changers)]
		var a attribution
		now := time.Now()
		var sent, answered []message.Key
		notes := 0
		take := func(cause, id message.Key) {
			var v verdict
			ok := false
			if id == "" {
				v = a.unknownID(id, now)
			} else {
				v, ok = a.withID(id, now)
			}
			if !ok && v.id != nil && message.KeyOf(v.id) != cause {
				t.Fatalf("the answer to %q, with the id %q, is taken for that to %s", cause, id, v.id)
			}
			if v.hold {
				a.accept(cause)
			}
		}
		for n, b := range script {
			switch b % 8 {
			case 0, 1: // a request, with a number or a text as id
				written := []byte(fmt.Sprint(n))
				if b%16 >= 8 {
					written = []byte(fmt.Sprintf("%q", fmt.Sprint(n)))
				}
				id := message.KeyOf(written)
				a.send(id, written, now)
				sent = append(sent, id)
			case 2, 3: // an answer, in any order
				if len(sent) > 0 {
					i := int(b/8) % len(sent)
					id := sent[i]
					sent = slices.Delete(sent, i, i+1)
					answered = append(answered, id)
					take(id, change(id))
				}
			case 4: // a second one
				if len(answered) > 0 {
					id := answered[int(b/8)%len(answered)]
					take(id, change(id))
				}
			case 5: // a message that is no request
				a.send("", nil, now)
				notes++
			case 6: // which is answered all the same
				if notes > 0 && now.Sub(a.lastOther) <= otherAnsweredWithin {
					take("none", change("n0"))
				}
			case 7:
				now = now.Add(time.Duration(b) * time.Second)
			}
		}
	})
}
