package ready

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxEvents is how many descriptors are asked for at once.
const maxEvents = 64

// File waits until one file can be read. Its methods may be called concurrently.
type File struct {
	fd   int
	id   int32 // the system returns it with the event
	call func()
	// waiting is guarded by the lock of all.
	waiting bool
}

// New returns a File for a descriptor, which must not be closed before Close. It returns an error
// if the system cannot wait for such a file. call is called on a goroutine of its own.
func New(fd int, call func()) (*File, error) {
	f := &File{fd: fd, call: call}
	if err := all.add(f); err != nil {
		return nil, err
	}
	return f, nil
}

// Wait has call called once, as soon as something can be read or the end is reached; at once if
// that is so already. It must not be called again before that.
func (f *File) Wait() { all.wait(f) }

// Cancel ends the wait. It returns false if there is none: call was called, or is about to be.
func (f *File) Cancel() bool { return all.cancel(f) }

// Close forgets the file. A wait must not be under way.
func (f *File) Close() { all.remove(f) }

// all waits for all files of the program.
var all poller

// poller asks the system which files can be read (epoll(7)). Its descriptor is itself waited for
// by the poller of Go's runtime, so that no thread waits.
type poller struct {
	mu    sync.Mutex
	file  *os.File // of the epoll instance; nil before the first file and after the last one
	fd    int
	files map[int32]*File
	next  int32
	runs  bool // a goroutine runs
}

// add makes a file known.
func (p *poller) add(f *File) error {
	p.mu.Lock()
	defer p.unlock()
	if p.file == nil {
		if err := p.open(); err != nil {
			return err
		}
	}
	for p.files[p.next] != nil { // the numbers were used up once
		p.next++
	}
	f.id = p.next
	p.next++
	// Nothing is reported before wait, but what it cannot wait for is refused here.
	if err := p.control(syscall.EPOLL_CTL_ADD, f, 0); err != nil {
		return err
	}
	p.files[f.id] = f
	return nil
}

// open makes the epoll instance.
func (p *poller) open() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // else the runtime would not wait for it
		_ = syscall.Close(fd)
		return err
	}
	file := os.NewFile(uintptr(fd), "epoll")
	if err := file.SetReadDeadline(time.Time{}); err != nil { // the runtime cannot wait for it
		_ = file.Close()
		return err
	}
	p.file, p.fd, p.files = file, fd, make(map[int32]*File)
	return nil
}

// unlock releases the lock, and closes the instance if it has no file. Its goroutine then ends.
// Close waits until the goroutine does not use the instance, for which that may need the lock.
func (p *poller) unlock() {
	var unused *os.File
	if len(p.files) == 0 {
		unused, p.file, p.runs = p.file, nil, false
	}
	p.mu.Unlock()
	if unused != nil {
		_ = unused.Close()
	}
}

func (p *poller) control(op int, f *File, events uint32) error {
	return syscall.EpollCtl(p.fd, op, f.fd, &syscall.EpollEvent{Events: events | syscall.EPOLLONESHOT, Fd: f.id})
}

func (p *poller) wait(f *File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.waiting = true
	if p.control(syscall.EPOLL_CTL_MOD, f, syscall.EPOLLIN|syscall.EPOLLRDHUP) != nil {
		f.waiting = false // the file was closed, against the rules: its reader finds that out
		go f.call()
		return
	}
	if !p.runs {
		p.runs = true
		go p.run(p.file)
	}
}

func (p *poller) cancel(f *File) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := f.waiting
	f.waiting = false
	return was
}

func (p *poller) remove(f *File) {
	p.mu.Lock()
	defer p.unlock()
	if p.files[f.id] != f {
		return
	}
	_ = p.control(syscall.EPOLL_CTL_DEL, f, 0)
	delete(p.files, f.id)
}

// run calls the functions of files that can be read, until the instance is closed.
func (p *poller) run(file *os.File) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	var events [maxEvents]syscall.EpollEvent
	_ = conn.Read(func(fd uintptr) bool {
		for {
			n, err := syscall.EpollWait(int(fd), events[:], 0)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case err != nil:
				return true
			}
			p.report(file, events[:n])
			if n < len(events) {
				return false // the runtime wakes this goroutine when there is an event again
			}
		}
	})
}

// report has the functions of files called.
func (p *poller) report(file *os.File, events []syscall.EpollEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != file {
		return
	}
	for _, e := range events {
		if f := p.files[e.Fd]; f != nil && f.waiting {
			f.waiting = false
			go f.call()
		}
	}
}
