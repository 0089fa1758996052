// Command bridge compares what this module takes, where it carries one transport
// over to another, with what npm's bridges take:
//
//   - a program behind Streamable HTTP: `stdio`, mcp-proxy and supergateway (with
//     sessions);
//   - an HTTP+SSE server behind Streamable HTTP: `sse+http` and the server of the
//     MCP Inspector;
//   - a Streamable HTTP server: `http`, and reverse_proxy alone.
//
// Each is a process of its own, started anew for every round. All of a round are
// alive at once, and in front of the same small server, which is this program
// itself: a process for each session (mcp-proxy has one for all), or one HTTP+SSE
// server for all. What the server takes is not counted.
//
// A round warms each up with calls for -warmup. Then calls of a tool with a short
// text go to each in turn, in short passes, forwards and backwards, in an order
// that rotates from round to round; 8 sessions, one call under way in each. Then
// each opens -sessions further sessions, with a GET stream where the clients of
// the SDKs open one, and makes calls in all of them.
//
// Measured are the CPU time of the bridge's process in the passes, divided by the
// calls, and the growth of its resident memory (the proportional set size) by the
// further sessions, divided by their number. Of Caddy there is more, which is exact to a few
// bytes: the objects that a call allocates, and what a session holds, which is the growth of the
// heap after a collection and of the stacks. Every answer is compared. Read the
// ratios: "4.0 (3.8-4.3)" says that in the median round the other bridge needed
// four times what this module did, and in single rounds between 3.8 and 4.3 times.
// They are of two runs that were made side by side; the figures themselves, which
// -v prints, say nothing on another machine.
//
// With -against BINARY, another build of Caddy takes the place of the packages of npm, as "before":
// "0.97" says that the other build needs 3 % less.
//
// The memory of Node.js grows in steps and is given back late, so that with few
// sessions its growth says little of a session: with 100 it varies fivefold from run
// to run. Read that column with 200 sessions or more, and several rounds.
//
// The program ends with exit status 1 if an answer is wrong or missing, or if a
// median is below -cpu or -memory (reverse_proxy alone is not held against them). The packages are those of bench/bridge/node
// (npm ci), or of -npm. It reads the process tables, so it needs Linux.
//
// With -totals and -idle it prints tables in Markdown instead. -totals: the resident memory of the
// whole process of each bridge, as it is with that many sessions, each with its stream, after a
// few calls in each and three seconds without any; the servers are not counted. -idle: the memory
// for each idle event stream of a Streamable HTTP server, over HTTP/1.1 and over HTTP/2 with 100
// streams to a connection, unencrypted; to the server it is HTTP/1.1. 9,500 streams take 19,000
// descriptors over HTTP/1.1 (ulimit -n).
//
//	go run ./bench/bridge
//	go run ./bench/bridge -totals 1,200,1000 -idle 1000,5000,9500
//	go run ./bench/bridge -rounds 5 -cpu 3 -memory 5
//	go run ./bench/bridge -rounds 7 -against /path/to/caddy -cpu 0.97 -memory 0.97
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

type options struct {
	caddy    string
	against  string
	npm      string
	rounds   int
	warmup   time.Duration
	calls    int
	sessions int
	cpu      float64
	memory   float64
	streams  bool
	profile  string
	verbose  bool
	total    counts
	idle     counts
}

func init() {
	// Children are told to end with the thread that started them.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case asProgram:
			end(serveProgram())
			return
		case asSSE:
			end(serveSSE())
			return
		}
	}
	var o options
	flag.StringVar(&o.caddy, "caddy", "", "Caddy `binary` to measure (default: built from ./cmd/caddy)")
	flag.StringVar(&o.against, "against", "", "Caddy `binary` of another build to compare this module with, in place of npm's bridges")
	flag.StringVar(&o.npm, "npm", filepath.Join("bench", "bridge", "node"), "`directory` whose node_modules has the other bridges")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, each with new processes")
	flag.DurationVar(&o.warmup, "warmup", 5*time.Second, "how long each bridge serves calls before anything is measured")
	flag.IntVar(&o.calls, "calls", 1000, "calls of one pass; there are 6 in a round")
	flag.IntVar(&o.sessions, "sessions", 200, "further sessions whose memory is measured")
	flag.Float64Var(&o.cpu, "cpu", 0, "fail if another bridge needs, in the median, less than so many times the CPU time a call (0: no limit)")
	flag.Float64Var(&o.memory, "memory", 0, "fail if another bridge needs, in the median, less than so many times the memory a session (0: no limit)")
	flag.BoolVar(&o.streams, "streams", true, "each of the further sessions has a GET stream open")
	flag.StringVar(&o.profile, "profile", "", "write profiles of this module's processes into this `directory`; the figures of that run are of no use")
	flag.Var(&o.total, "totals", "print only what the process of each bridge takes with these `numbers` of idle sessions, such as 1,200,1000")
	flag.Var(&o.idle, "idle", "print only what an idle event stream takes with these `numbers` of them, such as 1000,5000,9500")
	flag.BoolVar(&o.verbose, "v", false, "print the figures that the ratios are of")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	end(err)
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bridge:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if o.rounds < 1 || o.calls < concurrency || o.sessions < 1 {
		return fmt.Errorf("-rounds and -sessions have to be positive, -calls at least %d", concurrency)
	}
	node := ""
	var err error
	if o.against != "" {
		compareBuilds()
	} else if node, err = exec.LookPath("node"); err != nil {
		return errors.New("node is not in PATH: install Node.js 20 or later")
	}
	if o.npm, err = filepath.Abs(o.npm); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-bridge-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.caddy, err = benchkit.Build(ctx, o.caddy, dir); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	m := &machine{options: o, dir: dir, node: node, self: self}
	for _, c := range contenders {
		if c.script == "" {
			continue
		}
		if _, err := os.Stat(m.script(c)); err != nil {
			return fmt.Errorf("%s is missing: run `npm ci` in %s", c.name, o.npm)
		}
	}
	if len(o.total) > 0 || len(o.idle) > 0 {
		return m.tables(ctx)
	}
	r := newResults()
	for round := range o.rounds {
		if err := m.round(ctx, round, r); err != nil {
			return err
		}
	}
	return r.report(os.Stdout, o)
}
