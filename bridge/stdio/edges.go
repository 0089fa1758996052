package stdio

// edge is how much, in bytes, of the begin and of the end of a line that is skipped
// is told about.
const edge = 1 << 10

// edges are begin and end of a line that is too long to hold.
type edges struct {
	begin, end []byte
}

// write takes the next bytes of the line.
func (e *edges) write(part []byte) {
	if n := min(len(part), edge-len(e.begin)); n > 0 {
		e.begin = append(e.begin, part[:n]...)
	}
	if len(part) >= edge {
		e.end = append(e.end[:0], part[len(part)-edge:]...)
		return
	}
	if over := len(e.end) + len(part) - edge; over > 0 {
		e.end = e.end[:copy(e.end, e.end[over:])]
	}
	e.end = append(e.end, part...)
}

// reset forgets the line.
func (e *edges) reset() { e.begin, e.end = nil, nil }

// edgesOf are those of a line that is there.
func edgesOf(line []byte) (begin, end []byte) {
	return line[:min(len(line), edge)], line[max(0, len(line)-edge):]
}
