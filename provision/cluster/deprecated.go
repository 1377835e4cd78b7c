package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kinstall/kinstall/plan/fact"
)

// deprecatedMetric counts nothing: it is 1 for each deprecated API that somebody
// asked for since the API server was started
// (https://kubernetes.io/docs/reference/instrumentation/metrics/).
const deprecatedMetric = "apiserver_requested_deprecated_apis"

// maxMetrics is how much of an API server's metrics is read. A large cluster's
// has some ten megabytes.
const maxMetrics = 64 << 20

// metricsTimeout bounds the reading of them.
const metricsTimeout = 30 * time.Second

// Deprecated lists the deprecated APIs that somebody asked this API server for
// since it was started, sorted.
func (i Instance) Deprecated(ctx context.Context) ([]fact.DeprecatedAPI, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	response, err := i.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics says %s", response.Status)
	}
	return deprecatedAPIs(io.LimitReader(response.Body, maxMetrics))
}

// deprecatedAPIs reads one metric of many.
func deprecatedAPIs(metrics io.Reader) ([]fact.DeprecatedAPI, error) {
	var lines bytes.Buffer
	scanner := bufio.NewScanner(metrics)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if line := scanner.Bytes(); bytes.HasPrefix(line, []byte(deprecatedMetric+"{")) {
			lines.Write(line)
			lines.WriteByte('\n')
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("/metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&lines)
	if err != nil {
		return nil, fmt.Errorf("/metrics: %w", err)
	}
	var found []fact.DeprecatedAPI
	for _, metric := range families[deprecatedMetric].GetMetric() {
		var api fact.DeprecatedAPI
		for _, label := range metric.GetLabel() {
			switch label.GetName() {
			case "group":
				api.Group = label.GetValue()
			case "version":
				api.Version = label.GetValue()
			case "resource":
				api.Resource = label.GetValue()
			case "removed_release":
				api.Removed = label.GetValue()
			}
		}
		if metric.GetUntyped().GetValue()+metric.GetGauge().GetValue() > 0 && api.Removed != "" {
			found = append(found, api)
		}
	}
	slices.SortFunc(found, func(a, b fact.DeprecatedAPI) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), strings.Compare(a.Resource, b.Resource), cmp.Compare(a.Version, b.Version))
	})
	return slices.Compact(found), nil // subresources count as their resource
}
