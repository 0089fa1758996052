package mcpauthbridge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// collector makes metrics of what the endpoints of one configuration count anyway, at
// the moment when they are asked for. Its labels are the names of endpoints and words
// of closed sets.
type collector struct {
	endpoints []*Handler

	requests, challenges, refused, fetches, cache, failures, begun, ended, sessions, starts, exits, servers,
	open, oldest, streams, active, bytes *prometheus.Desc
}

// registerMetrics has a configuration's endpoints measured.
func registerMetrics(registry *prometheus.Registry, endpoints []*Handler) error {
	if registry == nil || len(endpoints) == 0 {
		return nil
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("caddy_mcp_auth_bridge_"+name, help, append([]string{"endpoint"}, labels...), nil)
	}
	return registry.Register(&collector{
		endpoints:  endpoints,
		requests:   desc("request_duration_seconds", "Duration of requests to the endpoint, until their answer was complete.", "method", "code"),
		active:     desc("requests_in_flight", "Requests that are being answered."),
		challenges: desc("challenges_total", "Answers with a challenge, or 401, by what the first Bearer or DPoP challenge says and what became of it.", "scheme", "error", "action"),
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
		c.requests, c.challenges, c.refused, c.fetches, c.cache, c.failures, c.begun, c.ended, c.sessions, c.starts,
		c.exits, c.servers, c.open, c.oldest, c.streams, c.active, c.bytes,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, h := range c.endpoints {
		c.collect(h, out)
	}
}

func (c *collector) collect(h *Handler, out chan<- prometheus.Metric) {
	t := h.counts.Totals()
	_, now := h.memory.Load().Totals() // what an earlier load has begun is still under way
	put := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		if m, err := prometheus.NewConstMetric(d, kind, value, append([]string{h.label()}, labels...)...); err == nil {
			out <- m
		}
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		put(d, prometheus.CounterValue, float64(n), labels...)
	}
	durations := func(d *prometheus.Desc, bounds []float64, from bridge.Histogram, labels ...string) {
		below := make(map[float64]uint64, len(bounds))
		for i, bound := range bounds {
			below[bound] = from.Below[i]
		}
		if m, err := prometheus.NewConstHistogram(d, from.Count, from.Sum.Seconds(), below, append([]string{h.label()}, labels...)...); err == nil {
			out <- m
		}
	}
	t.Requests(func(method, class string, from bridge.Histogram) {
		durations(c.requests, bridge.RequestBuckets, from, method, class)
	})
	t.Challenges(func(scheme, code string, action bridge.Action, n uint64) {
		count(c.challenges, n, scheme, code, string(action))
	})
	count(c.refused, t.Refused())
	each(c.fetches, bridge.FetchResults, t.Fetches(), count)
	each(c.cache, bridge.CacheResults, t.Cache(), count)
	each(c.failures, bridge.Failures, t.Failures(), count)
	received, sent := t.Bytes()
	count(c.bytes, received, "received")
	count(c.bytes, sent, "sent")
	durations(c.streams, bridge.StreamBuckets, t.Streams())
	put(c.active, prometheus.GaugeValue, float64(now.Requests))
	put(c.open, prometheus.GaugeValue, float64(now.Streams))
	age := 0.0
	if !now.Oldest.IsZero() {
		age = time.Since(now.Oldest).Seconds()
	}
	put(c.oldest, prometheus.GaugeValue, age)
	if h.hub == nil {
		return
	}
	each(c.begun, bridge.Transports, t.Begun(), count)
	t.Ended(func(transport bridge.Transport, why bridge.EndReason, n uint64) {
		count(c.ended, n, string(transport), string(why))
	})
	each(c.starts, bridge.Starts, t.Starts(), count)
	each(c.exits, bridge.Exits, t.Exits(), count)
	open := make([]uint64, len(bridge.Transports))
	for _, s := range h.hub.List() {
		for i, transport := range bridge.Transports {
			if s.Transport == transport {
				open[i]++
			}
		}
	}
	for i, transport := range bridge.Transports {
		put(c.sessions, prometheus.GaugeValue, float64(open[i]), string(transport))
	}
	put(c.servers, prometheus.GaugeValue, float64(h.hub.Len()))
}

// each counts what is told apart by one label.
func each[T ~string](d *prometheus.Desc, set []T, n []uint64, count func(*prometheus.Desc, uint64, ...string)) {
	for i, word := range set {
		count(d, n[i], string(word))
	}
}
