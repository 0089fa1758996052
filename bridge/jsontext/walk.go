package jsontext

import "bytes"

// SkipString returns the index after the string that starts at i. If the string does not
// end it returns len(raw).
func SkipString(raw []byte, i int) int {
	const short = 32 // bytes that are searched here, because a call costs more
	for i++; i < len(raw); {
		for to := min(i+short, len(raw)); i < to && raw[i] != '"' && raw[i] != '\\'; {
			i++
		}
		if i < len(raw) && raw[i] != '"' && raw[i] != '\\' {
			next := bytes.IndexAny(raw[i:], `"\`)
			if next < 0 {
				break
			}
			i += next
		}
		if i < len(raw) && raw[i] == '"' {
			return i + 1
		}
		i += 2
	}
	return len(raw)
}

// SkipValue returns the index after the value that starts at i, in valid JSON.
func SkipValue(raw []byte, i int) int {
	switch raw[i] {
	case '"':
		return SkipString(raw, i)
	case '{', '[':
		for open := 0; i < len(raw); i++ {
			switch raw[i] {
			case '"':
				i = SkipString(raw, i) - 1
			case '{', '[':
				open++
			case '}', ']':
				if open--; open == 0 {
					return i + 1
				}
			}
		}
		return len(raw)
	}
	for ; i < len(raw); i++ {
		switch raw[i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return i
}

// SkipSpace returns the index after the white space that starts at i.
func SkipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n') {
		i++
	}
	return i
}

// Depth returns the deepest nesting of a text that looks like JSON.
func Depth(raw []byte) int {
	deepest, now := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = SkipString(raw, i) - 1
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		}
	}
	return deepest
}
