package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// collector makes metrics of the counts of endpoints when they are collected. Labels are
// names of endpoints and words of closed sets.
type collector struct {
	endpoints func() []Endpoint

	requests, challenges, denials, refused, fetches, cache, failures, begun, ended, sessions, starts, exits, servers,
	open, oldest, streams, active, bytes *prometheus.Desc
}

// RegisterMetrics registers metrics of endpoints in a registry. endpoints is called each
// time that the metrics are collected; of an endpoint it has to give the name, the counts,
// the memory and the sessions.
func RegisterMetrics(registry *prometheus.Registry, endpoints func() []Endpoint) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("caddy_mcp_auth_bridge_"+name, help, append([]string{"endpoint"}, labels...), nil)
	}
	return registry.Register(&collector{
		endpoints:  endpoints,
		requests:   desc("request_duration_seconds", "Duration of requests to the endpoint, until their answer was complete.", "method", "code"),
		active:     desc("requests_in_flight", "Requests that are being answered."),
		challenges: desc("challenges_total", "Answers with a challenge, or 401, by what the first Bearer or DPoP challenge says and what became of it.", "scheme", "error", "action"),
		denials:    desc("denials_total", "Requests that authorize has refused.", "kind"),
		refused:    desc("origins_refused_total", "Requests of browsers whose origin is not allowed."),
		fetches:    desc("metadata_fetches_total", "Searches for the metadata of the upstream.", "result"),
		cache:      desc("metadata_cache_total", "Looks into the cache of metadata.", "result"),
		failures:   desc("upstream_failures_total", "Times that an upstream which answered before gave no answer.", "reason"),
		begun:      desc("sessions_begun_total", "Sessions that have begun.", "transport"),
		ended:      desc("sessions_ended_total", "Sessions that have ended.", "transport", "reason"),
		sessions:   desc("sessions", "Sessions that are open.", "transport"),
		starts:     desc("server_starts_total", "Programs that were started for sessions, or servers that were connected to.", "result"),
		exits:      desc("server_exits_total", "Those that have ended.", "reason"),
		servers:    desc("servers", "Those that run."),
		open:       desc("streams", "Streams of events that are open."),
		oldest:     desc("stream_oldest_seconds", "Age of the oldest of them."),
		streams:    desc("stream_duration_seconds", "Age of streams of events when they ended."),
		bytes:      desc("bytes_total", "Bytes of the bodies of requests and of answers.", "direction"),
	})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.requests, c.challenges, c.denials, c.refused, c.fetches, c.cache, c.failures, c.begun, c.ended, c.sessions, c.starts,
		c.exits, c.servers, c.open, c.oldest, c.streams, c.active, c.bytes,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, e := range c.endpoints() {
		c.collect(&e, out)
	}
}

func (c *collector) collect(e *Endpoint, out chan<- prometheus.Metric) {
	t := e.Counts.Totals()
	_, now := e.Memory.Totals() // includes requests that began with an earlier configuration
	put := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		if m, err := prometheus.NewConstMetric(d, kind, value, append([]string{e.Name}, labels...)...); err == nil {
			out <- m
		}
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		put(d, prometheus.CounterValue, float64(n), labels...)
	}
	durations := func(d *prometheus.Desc, bounds []float64, from stats.Histogram, labels ...string) {
		below := make(map[float64]uint64, len(bounds))
		for i, bound := range bounds {
			below[bound] = from.Below[i]
		}
		if m, err := prometheus.NewConstHistogram(d, from.Count, from.Sum.Seconds(), below, append([]string{e.Name}, labels...)...); err == nil {
			out <- m
		}
	}
	t.Requests(func(method, class string, from stats.Histogram) {
		durations(c.requests, stats.RequestBuckets, from, method, class)
	})
	t.Challenges(func(scheme, code string, action stats.Action, n uint64) {
		count(c.challenges, n, scheme, code, string(action))
	})
	for i, kind := range stats.DenialKinds {
		if n := t.Denials()[i]; n > 0 { // an endpoint without authorize denies nothing
			count(c.denials, n, string(kind))
		}
	}
	count(c.refused, t.Refused())
	each(c.fetches, stats.FetchResults, t.Fetches(), count)
	each(c.cache, stats.CacheResults, t.Cache(), count)
	each(c.failures, stats.Failures, t.Failures(), count)
	received, sent := t.Bytes()
	count(c.bytes, received, "received")
	count(c.bytes, sent, "sent")
	durations(c.streams, stats.StreamBuckets, t.Streams())
	put(c.active, prometheus.GaugeValue, float64(now.Requests))
	put(c.open, prometheus.GaugeValue, float64(now.Streams))
	age := 0.0
	if !now.Oldest.IsZero() {
		age = time.Since(now.Oldest).Seconds()
	}
	put(c.oldest, prometheus.GaugeValue, age)
	if e.Sessions == nil {
		return
	}
	each(c.begun, stats.Transports, t.Begun(), count)
	t.Ended(func(transport stats.Transport, why stats.EndReason, n uint64) {
		count(c.ended, n, string(transport), string(why))
	})
	each(c.starts, stats.Starts, t.Starts(), count)
	each(c.exits, stats.Exits, t.Exits(), count)
	open := make([]uint64, len(stats.Transports))
	for _, s := range e.Sessions.List() {
		for i, transport := range stats.Transports {
			if s.Transport == transport {
				open[i]++
			}
		}
	}
	for i, transport := range stats.Transports {
		put(c.sessions, prometheus.GaugeValue, float64(open[i]), string(transport))
	}
	put(c.servers, prometheus.GaugeValue, float64(e.Sessions.Len()))
}

// each calls count for each word of a set.
func each[T ~string](d *prometheus.Desc, set []T, n []uint64, count func(*prometheus.Desc, uint64, ...string)) {
	for i, word := range set {
		count(d, n[i], string(word))
	}
}
