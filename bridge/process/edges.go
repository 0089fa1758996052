package process

// edge bounds the beginning and the end of a skipped line that are reported, in bytes.
const edge = 1 << 10

// edges are the beginning and the end of a line that is too long to be held.
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

// reset makes e ready for another line.
func (e *edges) reset() { e.begin, e.end = nil, nil }

// edgesOf returns the beginning and the end of a line that is held.
func edgesOf(line []byte) (begin, end []byte) {
	return line[:min(len(line), edge)], line[max(0, len(line)-edge):]
}
