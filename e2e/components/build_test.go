package components

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGoMod(t *testing.T) {
	got := goModule{
		Require: []moduleVersion{{"k8s.io/kubernetes", "v1.36.3"}},
		Replace: []replacement{{"k8s.io/api", moduleVersion{"k8s.io/api", stagedVersion("1.36.3")}}},
	}.goMod()
	want := `module kinstall.example/program

go 1.26.0

require k8s.io/kubernetes v1.36.3

replace k8s.io/api => k8s.io/api v0.36.3
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("go.mod (-want +got):\n%s", diff)
	}
}

func TestLinkerFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		module goModule
		want   string
	}{
		"plain":     {goModule{}, "-s -w"},
		"variables": {goModule{X: map[string]string{"b.V": "2", "a.V": "1"}}, "-s -w -X a.V=1 -X b.V=2"},
		"cgo":       {goModule{CGO: true}, "-s -w -extldflags -static"},
	} {
		if got := tc.module.ldflags(); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestProgramName(t *testing.T) {
	for path, want := range map[string]string{
		"k8s.io/kubernetes/cmd/kubelet":           "kubelet",
		"go.etcd.io/etcd/server/v3":               "server",
		"github.com/containerd/containerd/v2/cmd": "cmd",
		"github.com/flannel-io/flannel":           "flannel",
	} {
		if got := programName(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestUpstreamVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.1.5+ds1-1+deb12u1":    "1.1.5",
		"1:1.35.0-4+deb12u1+b1":  "1.35.0",
		"1.2-rc-1":               "1.2-rc",
		"1.36.1":                 "1.36.1",
		"20.10.24+dfsg1-1+b3":    "20.10.24",
		"2:8.39-13":              "8.39",
		"1.1.5+ds1-1+deb12u1~x1": "1.1.5",
	} {
		if got := upstream(version); got != want {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
	}
}

// The whole way of a program with no dependencies: module, compiler, image.
func TestBuildOwnProgram(t *testing.T) {
	var log bytes.Buffer
	w := &workshop{dir: t.TempDir(), files: t.TempDir(), log: &log}
	module := goModule{Main: "package main\n\nvar version = \"dev\"\n\nfunc main() { println(version) }\n",
		X: map[string]string{"main.version": "1.2.3"}}
	bin, err := module.build(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(bin, programName(ownModule))).CombinedOutput()
	if err != nil || string(out) != "1.2.3\n" {
		t.Errorf("program said %q, %v", out, err)
	}
	if !strings.Contains(log.String(), "+ go build -trimpath") {
		t.Errorf("log lacks the command:\n%s", log.String())
	}
}

func TestBuildErrorShowsTheCompilers(t *testing.T) {
	w := &workshop{dir: t.TempDir(), files: t.TempDir(), log: new(bytes.Buffer)}
	_, err := goModule{Main: "package main\n\nfunc main() { nonsense() }\n"}.build(t.Context(), w)
	if err == nil || !strings.Contains(err.Error(), "undefined: nonsense") || !strings.HasPrefix(err.Error(), "go build: exit status 1") {
		t.Errorf("error %v", err)
	}
}

// onOutput is a log that calls a function when something is written to it.
type onOutput struct {
	text string
	then func()
}

func (o onOutput) Write(p []byte) (int, error) {
	if string(p) == o.text {
		o.then()
	}
	return len(p), nil
}

func TestRunTellsTheWholeGroupToEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &workshop{log: onOutput{text: "started\n", then: cancel}}
	start := time.Now()
	// The sleep holds the output open: run returns at once only if it ends too.
	_, err := w.run(ctx, command{argv: []string{"sh", "-c", "sleep 60 & echo started; wait"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if elapsed := time.Since(start); elapsed >= killDelay {
		t.Errorf("took %s, so the sleep was left running", elapsed)
	}
}

func TestRunMissingProgram(t *testing.T) {
	w := &workshop{log: new(bytes.Buffer)}
	_, err := w.run(t.Context(), command{argv: []string{"no-such-program"}})
	if !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v, want exec.ErrNotFound", err)
	}
}
