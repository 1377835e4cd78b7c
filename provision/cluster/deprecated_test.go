package cluster

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

// What an API server says of deprecated APIs, among all its other metrics.
func TestDeprecatedAPIs(t *testing.T) {
	const metrics = `# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.32",resource="flowschemas",subresource="",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.32",resource="flowschemas",subresource="status",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="1.40",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis_total{group="odd",removed_release="1.36",resource="odd",subresource="",version="v1"} 1
apiserver_request_total{code="200",component="apiserver",resource="apiserver_requested_deprecated_apis{"} 3
`
	for _, c := range []struct {
		name, body string
		status     int
		want       []fact.DeprecatedAPI
		err        string
	}{
		{"some", metrics, http.StatusOK, []fact.DeprecatedAPI{
			{Version: "v1", Resource: "endpoints", Removed: "1.40"},
			{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3", Resource: "flowschemas", Removed: "1.32"},
		}, ""},
		{"none", "apiserver_request_total 3\n", http.StatusOK, nil, ""},
		{"refused", "no", http.StatusForbidden, nil, "/metrics says 403 Forbidden"},
		{"no metric", deprecatedMetric + "{group=\n", http.StatusOK, nil, "/metrics: text format parsing error"},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/metrics" {
				t.Errorf("asked for %s", r.URL)
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		instance := Instance{TLS: server.Client().Transport.(*http.Transport).TLSClientConfig, Server: Server{
			Name: "shaolin", Address: server.Listener.Addr().String(),
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		}}
		got, err := instance.Deprecated(t.Context())
		server.Close()
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
