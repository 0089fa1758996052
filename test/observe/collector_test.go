package observe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// exportedSpan is a span as it was exported.
type exportedSpan struct {
	trace, id, parent, name string
	client, failed          bool
	attributes              map[string]string
}

// spans is an OTLP receiver.
type spans struct {
	mu      sync.Mutex
	all     []exportedSpan
	changed chan struct{}
	text    string // everything that came, as JSON
}

// collectSpans has Caddy's tracing export to a receiver, as its environment says.
func collectSpans(t *testing.T) *spans {
	t.Helper()
	s := &spans{changed: make(chan struct{})}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // milliseconds
	return s
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &req) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += protojson.Format(&req)
	for _, resource := range req.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				e := exportedSpan{
					trace: string(span.GetTraceId()), id: string(span.GetSpanId()), parent: string(span.GetParentSpanId()), name: span.GetName(),
					client: span.GetKind().String() == "SPAN_KIND_CLIENT", failed: span.GetStatus().GetCode().String() == "STATUS_CODE_ERROR",
					attributes: make(map[string]string),
				}
				for _, a := range span.GetAttributes() {
					e.attributes[a.GetKey()] = a.GetValue().GetStringValue()
					if a.GetValue().GetStringValue() == "" {
						e.attributes[a.GetKey()] = strconv.FormatInt(a.GetValue().GetIntValue(), 10)
					}
				}
				s.all = append(s.all, e)
			}
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// await returns the first span that is wanted, once it is there.
func (s *spans) await(t *testing.T, what string, wanted func(exportedSpan) bool) exportedSpan {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		all, changed := s.all, s.changed
		s.mu.Unlock()
		for _, e := range all {
			if wanted(e) {
				return e
			}
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("after 20 s there is no span of %s: %+v", what, all)
		}
	}
}

// received returns everything that was exported, as JSON.
func (s *spans) received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}
