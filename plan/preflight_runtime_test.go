package plan

import (
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
)

// A package with a Docker that cri-dockerd refuses is found before anything is
// touched.
func TestPreflightOfDockerPackages(t *testing.T) {
	for _, tt := range []struct {
		name, cri, os, version, installed, want string
	}{
		{"Debian 12 would install 20.10", "0.3.24", "debian", "12", "", "its package docker.io is Docker 20.10"},
		{"Debian 13 would install a newer one", "0.3.24", "debian", "13", "", ""},
		{"Ubuntu, not known", "0.3.24", "ubuntu", "24.04", "", ""},
		{"installed and old", "0.3.24", "ubuntu", "22.04", "20.10.25-0ubuntu1", "Docker 20.10.25"},
		{"installed and new, with an epoch", "0.3.24", "debian", "12", "5:28.5.1-1~debian.12~bookworm", ""},
		{"an older cri-dockerd", "0.3.11", "debian", "12", "20.10.24+dfsg1-1", ""},
		{"of a form that nobody knows", "0.3.24", "debian", "13", "latest", ""},
	} {
		inv := load(t, "lab")
		inv.Runtime = inventory.Runtime{Kind: inventory.RuntimeDocker, Package: "docker.io", CRIDockerdVersion: tt.cri}
		host, _ := inv.Host("huashan")
		facts := fact.NewSet(fact.Host{OS: tt.os, OSVersion: tt.version})
		facts.Put(fact.Key{Kind: fact.KindPackage, Name: "docker.io"}, fact.Package{Installed: tt.installed != "", Version: tt.installed})
		got := ""
		for _, p := range checkRuntime(inv, host, Observation{Facts: facts}) {
			got += p.Summary
		}
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
