// Command proxy compares what a request costs in three configurations of one
// Caddy binary:
//
//   - plain: reverse_proxy alone, the floor;
//   - headers: reverse_proxy with the header lines that a careful person
//     writes by hand for the same purpose: CORS for one origin, a preflight,
//     the upstream's own CORS headers dropped, the metadata URL of a challenge
//     replaced, a fixed metadata document;
//   - bridge: mcp_auth_bridge with `cors { allow_origins ... }`.
//
// Each configuration is a process of its own with GOMAXPROCS=1. All three are
// alive at once and proxy to one upstream, a further process. For each case (a
// kind of answer) the same number of requests goes to each, over 8 keep-alive
// connections, round by round. A round goes through the configurations in short
// passes, forwards and backwards, in an order that rotates from round to round.
// The first pass of a round and the first round are warm-up and are dropped.
// Each round has new processes, for one process may be a few percent slower
// than another of the same configuration as long as it lives.
//
// What is measured is the CPU time of the proxy's process, and its allocations
// as /debug/vars of the admin API counts them. Read the ratios: "bridge/headers
// 0.97 (0.94-1.01)" says that in the median round the bridge needed 97% of the
// CPU time of the lines written by hand, and in single rounds between 94% and
// 101%. A ratio is of two runs that were made side by side, so that the load of
// the machine cancels out; the times depend on the machine and say nothing
// elsewhere. On a busy machine the medians of two identical configurations come
// out up to 1% apart after 15 rounds or more, and further after fewer; more
// rounds, and -requests 2 or 3 for the streams and json-1m, tell smaller differences.
//
// Before a case is measured each answer is compared in full: status, body, and
// the headers that the configuration is there for. During measurement status
// and body length of each answer are. The program ends with exit status 1 if an
// answer is wrong, short or missing, or if the median of the last ratio is over
// -limit.
//
// With -against BINARY the second configuration is the bridge as well, run by another
// build, such as one of the commit before: then "bridge/before" is the ratio of both builds.
//
// With -authorize the second configuration is the bridge ("open"), and the third the bridge with
// authorize: then "authorize/open" is what checked tokens, rules and filtered lists cost. The
// case call has the same token each time, call-new one that was not seen before, and the lists
// have one tool in ten that is left out.
//
// With -endpoints N the first configuration is the bridge with one endpoint ("one"), and the other
// two are sites with N endpoints, of which the first or the last gets the requests: "last/one"
// is what the number of endpoints costs a request.
//
// With -hosts N there are four configurations: reverse_proxy alone and the bridge, each as the only
// site of a server ("plain-1", "one") and as the last of N, which all have a host of their own
// ("plain-N", "many"). "many/one" is what the number of hosts costs a request, and "plain-N/plain-1"
// what it costs in Caddy alone.
//
// With -latency it measures how long answers take, in place of CPU time: all configurations get
// requests at the same rate, at random times that do not depend on the answers. The rate is that
// at which plain needs -share of one processor. Each request is timed from when it was due until
// the end of its answer, so that a stall counts for all that were due meanwhile.
//
// With -forwarding VALUE the bridge has this value of the option forwarding. -against with the same
// build then compares the two ways to pass answers on.
//
// With -truncation N it measures nothing: it sends N requests of mixed sizes to
// the bridge (or to what -through names) at once, among them such that the
// upstream answers before it has read their body, and counts the answers that
// are short, wrong or missing.
//
//	go run ./bench/proxy
//	go run ./bench/proxy -case sse -rounds 15
//	go run ./bench/proxy -case challenge -profile DIR
//	go run ./bench/proxy -against /path/to/caddy -limit 1.01
//	go run ./bench/proxy -authorize
//	go run ./bench/proxy -endpoints 1000
//	go run ./bench/proxy -hosts 1000
//	go run ./bench/proxy -latency
//	go run ./bench/proxy -truncation 100000 -forwarding reverse_proxy
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// concurrency is the number of connections that requests are sent over.
const concurrency = 8

type options struct {
	caddy      string
	against    string
	authorize  bool
	endpoints  int
	hosts      int
	latency    bool
	share      float64
	rounds     int
	cases      string
	requests   float64
	limit      float64
	profile    string
	truncation int
	through    string
	forwarding string
}

func init() {
	// Children are told to end with the thread that started them.
	runtime.LockOSThread()
}

func main() {
	var o options
	var upstream bool
	flag.StringVar(&o.caddy, "caddy", "", "Caddy `binary` to measure (default: built from ./cmd/caddy)")
	flag.StringVar(&o.against, "against", "", "Caddy `binary` of another build to compare the bridge with, in place of the lines written by hand")
	flag.BoolVar(&o.authorize, "authorize", false, "compare the bridge with authorize to the bridge without, in place of the lines written by hand")
	flag.IntVar(&o.endpoints, "endpoints", 0, "compare the first and the last of `N` endpoints of a site to one alone")
	flag.IntVar(&o.hosts, "hosts", 0, "compare a site of `N`, each with a host of its own, to one alone, with and without the bridge")
	flag.BoolVar(&o.latency, "latency", false, "compare how long answers take at the same rate of requests, in place of CPU time")
	flag.Float64Var(&o.share, "share", 0.3, "`share` of one processor that plain needs at the rate of -latency")
	flag.IntVar(&o.rounds, "rounds", 9, "measured rounds of each case, beyond the warm-up")
	flag.StringVar(&o.cases, "case", "", "measure only cases whose name contains one of these, `names` separated by commas")
	flag.Float64Var(&o.requests, "requests", 1, "`factor` on the number of requests in a round; 1 is about half a second of CPU time")
	flag.Float64Var(&o.limit, "limit", 0, "fail if the median of bridge/headers, or bridge/before, is over this in any case (0: no limit)")
	flag.StringVar(&o.profile, "profile", "", "afterwards write profiles of each case and configuration into this `directory`")
	flag.IntVar(&o.truncation, "truncation", 0, "count truncated answers among `N` requests instead")
	flag.StringVar(&o.forwarding, "forwarding", "", "`value` of the option forwarding of the bridge: direct or reverse_proxy")
	flag.StringVar(&o.through, "through", "bridge", "`configuration` that -truncation sends its requests to")
	flag.BoolVar(&upstream, upstreamFlag, false, "be the upstream (used by the program itself)")
	flag.Usage = usage
	flag.Parse()
	if upstream {
		if err := serveUpstream(); err != nil {
			fmt.Fprintln(os.Stderr, "upstream:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./bench/proxy [flags]")
	flag.VisitAll(func(f *flag.Flag) {
		if f.Name == upstreamFlag {
			return
		}
		name, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "0" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(flag.CommandLine.Output(), "  -%s %s\n    \t%s\n", f.Name, name, text)
	})
}

func run(ctx context.Context, o *options) error {
	if o.endpoints > 0 {
		if o.endpoints < 2 || o.authorize || o.against != "" || o.truncation > 0 {
			return errors.New("-endpoints has to be 2 or more, and excludes -authorize, -against and -truncation")
		}
		compareEndpoints(o.endpoints)
	}
	if o.hosts > 0 {
		if o.hosts < 2 || o.endpoints > 0 || o.authorize || o.against != "" || o.truncation > 0 || o.latency || o.forwarding != "" {
			return errors.New("-hosts has to be 2 or more, and excludes all other comparisons")
		}
		compareHosts(o.hosts)
	}
	if o.latency && (o.authorize || o.truncation > 0 || o.limit > 0 || o.profile != "") {
		return errors.New("-latency excludes -authorize, -truncation, -limit and -profile")
	}
	if o.authorize {
		if o.against != "" || o.truncation > 0 {
			return errors.New("-authorize excludes -against and -truncation")
		}
		i, err := benchkit.StartIssuer()
		if err != nil {
			return err
		}
		defer i.Close()
		if err := compareAuthorize(i); err != nil {
			return err
		}
	}
	selected, err := selectCases(o.cases)
	if err != nil {
		return err
	}
	if o.rounds < 1 || o.requests <= 0 || o.share <= 0 {
		return errors.New("-rounds, -requests and -share have to be positive")
	}
	dir, err := os.MkdirTemp("", "bench-proxy-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.caddy == "" {
		o.caddy = filepath.Join(dir, "caddy")
		if err := benchkit.BuildAt(ctx, o.caddy); err != nil {
			return err
		}
	}
	if o.against != "" {
		compareBuilds()
	}
	if o.forwarding != "" {
		setForwarding(o.forwarding)
	}
	up, err := startUpstream(ctx)
	if err != nil {
		return err
	}
	defer up.stop()
	m := machine{caddy: o.caddy, against: o.against, dir: dir, upstream: up.addr}
	if o.truncation > 0 {
		return countTruncated(ctx, &m, o.through, o.truncation)
	}
	if o.latency {
		return measureLatencies(ctx, o, &m, selected)
	}
	return measure(ctx, o, &m, selected)
}

// measureLatencies measures each case and prints its line as soon as it is known. An answer in
// which the upstream pauses takes as long as the pauses, so that it is left out.
func measureLatencies(ctx context.Context, o *options, m *machine, selected []*testCase) error {
	var failures []error
	printLatencyHeading(os.Stdout)
	for _, tc := range selected {
		if tc.pauses {
			continue
		}
		got, err := measureLatency(ctx, o, m, tc)
		if err != nil {
			return fmt.Errorf("%s: %w", tc.name, err)
		}
		got.print(os.Stdout)
		if n := got.total.short + got.total.failed; n > 0 {
			failures = append(failures, wrong(tc, n, got.total.first))
		}
	}
	return errors.Join(failures...)
}

// wrong says that answers were not as they have to be.
func wrong(tc *testCase, n int, first error) error {
	return fmt.Errorf("%s: %d answers were wrong, short or missing, first: %w", tc.name, n, first)
}

// measure measures each case and prints its line as soon as it is known.
func measure(ctx context.Context, o *options, m *machine, selected []*testCase) error {
	var failures []error
	printHeading(os.Stdout)
	for _, tc := range selected {
		got, err := measureCase(ctx, o, m, tc)
		if err != nil {
			return fmt.Errorf("%s: %w", tc.name, err)
		}
		got.print(os.Stdout)
		if got.failed > 0 {
			failures = append(failures, wrong(tc, got.failed, got.first))
		}
		c := comparisons[len(comparisons)-1]
		if median := got.ratio(c[0], c[1]).Median; o.limit > 0 && median > o.limit {
			failures = append(failures, fmt.Errorf("%s: median of %s is %.3f, over %.3f", tc.name, compared(c), median, o.limit))
		}
		if o.profile != "" {
			if err := writeProfiles(ctx, m, tc, o.profile); err != nil {
				return fmt.Errorf("%s: profile: %w", tc.name, err)
			}
		}
	}
	return errors.Join(failures...)
}

func selectCases(names string) ([]*testCase, error) {
	if names == "" {
		return measured, nil
	}
	var selected []*testCase
	for _, c := range measured {
		for name := range strings.SplitSeq(names, ",") {
			if name != "" && strings.Contains(c.name, name) {
				selected = append(selected, c)
				break
			}
		}
	}
	if len(selected) == 0 {
		var all []string
		for _, c := range measured {
			all = append(all, c.name)
		}
		return nil, fmt.Errorf("-case: none is named %q; there are %s", names, strings.Join(all, ", "))
	}
	return selected, nil
}
