package plan

import (
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// rendered is what a plan puts on one host.
type rendered struct {
	text  map[string]string // content by path
	files map[string]hardening.File
	data  string // etcd's data directory
}

func renderedOn(p *Plan, host string) *rendered {
	r := &rendered{text: map[string]string{}, files: map[string]hardening.File{}, data: p.Inventory.Etcd.DataDir}
	own := func(file string, o resource.Ownership) {
		r.files[file] = hardening.File{Mode: o.Mode, Owner: o.Owner + ":" + o.Group}
	}
	for _, s := range p.Steps {
		if s.Host != host {
			continue
		}
		switch f := s.Resource.(type) {
		case resource.File:
			own(f.Path, f.Own())
			r.text[f.Path] = string(f.Content)
		case resource.StaticPod:
			own(f.Path, f.Own())
			r.text[f.Path] = f.Manifest
		case resource.Directory:
			own(f.Path, f.Own())
		case resource.Certificate:
			own(f.Path, f.Own())
			own(f.KeyPath, f.KeyOwn())
		case resource.AuthorityFile:
			own(f.Path, f.Own())
		}
	}
	return r
}

var (
	wordForm    = regexp.MustCompile(`"(--[^"]*)"`)
	userForm    = regexp.MustCompile(`(?m)^User=(.*)$`)
	etcdEnvForm = regexp.MustCompile(`(?m)^(ETCD_[A-Z_]+)="(.*)"$`)
)

// seen is what a checker would see of it once it runs.
func (r *rendered) seen(t *testing.T) hardening.Seen {
	t.Helper()
	seen := hardening.Seen{Flags: map[string]map[string]string{}, Users: map[string]string{}, Files: maps.Clone(r.files)}
	document := func(file string) map[string]any {
		text, ok := r.text[file]
		if !ok {
			return nil
		}
		var d map[string]any
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	words := func(text string) []string {
		all := []string{"program"}
		for _, m := range wordForm.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		return all
	}
	for _, program := range []string{hardening.APIServer, hardening.ControllerManager, hardening.Scheduler} {
		if text, ok := r.text[ManifestDirectory+"/"+program+".yaml"]; ok {
			seen.Flags[program] = hardening.FlagsOf(words(text), nil)
			seen.Users[program] = "root"
		}
	}
	if unit, ok := r.text[etcdUnitFile]; ok {
		var environment []string
		for _, m := range etcdEnvForm.FindAllStringSubmatch(r.text[etcdConfig], -1) {
			environment = append(environment, m[1]+"="+m[2])
		}
		seen.Flags[hardening.Etcd] = hardening.FlagsOf(words(unit), environment)
		seen.Users[hardening.Etcd] = "root"
		if m := userForm.FindStringSubmatch(unit); m != nil {
			seen.Users[hardening.Etcd] = m[1]
		}
	}
	if data, ok := seen.Files[r.data]; ok {
		seen.Files[hardening.DataDirectory] = data
	}
	seen.Kubelet, seen.Proxy = document(kubeletConfig), document("/var/lib/kube-proxy/config.yaml")
	if file := seen.Flags[hardening.APIServer]["authentication-config"]; file != "" {
		seen.Anonymous, _ = document(file)["anonymous"].(map[string]any)
	}
	return seen
}

// versions has a release of every supported minor.
func versions() []string {
	var all []string
	for _, minor := range inventory.SupportedMinors() {
		all = append(all, inventory.PatchOf(minor))
	}
	return all
}

// hardened compiles three masters and a worker of a version, at a level.
func hardened(t *testing.T, version, level string) *Plan {
	t.Helper()
	text, err := os.ReadFile("../inventories/three-masters.hcl")
	if err != nil {
		t.Fatal(err)
	}
	inv := loadText(t, regexp.MustCompile(`version( *)= "1\.[0-9.]*"`).ReplaceAllString(string(text), "version$1= \""+version+"\"\n  hardening = \""+level+"\""))
	return compile(t, inv)
}

func loadText(t *testing.T, text string) *inventory.Inventory {
	t.Helper()
	inv, _, diags := inventory.Load("/inventories/x.hcl", inventory.Options{HomeDir: "/home/user", ReadFile: func(p string) ([]byte, error) {
		if path.Base(p) == "x.hcl" {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return inv
}

// What is rendered passes every check of its level, and only at the level cis
// those of that level.
func TestHardeningIsRendered(t *testing.T) {
	for _, version := range versions() {
		for _, level := range []string{inventory.HardeningCIS, inventory.HardeningBaseline} {
			p := hardened(t, version, level)
			var problems []hardening.Seen
			for _, h := range p.Inventory.Hosts {
				problems = append(problems, renderedOn(p, h.Name).seen(t))
			}
			for _, rule := range hardening.Rules() {
				failed := ""
				for _, seen := range problems {
					failed += rule.Check(seen)
				}
				if rule.Applies(level, version) != (failed == "") {
					t.Errorf("%s %s: rule %s (%s): %q", version, level, rule.ID, rule.Demand, failed)
				}
			}
		}
	}
}

// spoiled is a value that a demand refuses; false if it refuses none.
func spoiled(is hardening.Is) (string, bool) {
	switch {
	case is.Nothing:
		return "/x", true
	case is.Lacks != "":
		return is.Lacks, true
	case is.Not != "":
		return is.Not, true
	case is.AtLeast != 0:
		return "0", true
	case is.Value != "" || is.Has != "" || len(is.Within) > 0:
		return "spoiled", true
	}
	return "", false
}

// spoil takes away what a test looks at, or makes it what it must not be.
func (r *rendered) spoil(t *testing.T, test hardening.Test) []*rendered {
	t.Helper()
	changed := func(file, text string) *rendered {
		c := &rendered{text: maps.Clone(r.text), files: maps.Clone(r.files), data: r.data}
		if c.text[file] == text {
			t.Fatalf("%s: nothing was spoiled in %s", test.Where(), file)
		}
		c.text[file] = text
		return c
	}
	var all []*rendered
	switch test := test.(type) {
	case hardening.Flag:
		file, line := ManifestDirectory+"/"+test.Program+".yaml", regexp.MustCompile(`(?m)^ *- "--`+test.Name+`=.*\n`)
		added := func(value string) string { return fmt.Sprintf("    - %q\n", "--"+test.Name+"="+value) }
		where := "    command:\n    - " + test.Program + "\n"
		if test.Program == hardening.Etcd {
			variable := "ETCD_" + strings.ToUpper(strings.ReplaceAll(test.Name, "-", "_"))
			file, line = etcdConfig, regexp.MustCompile(`(?m)^`+variable+`=.*\n?`)
			added, where = func(value string) string { return variable + "=\"" + value + "\"\n" }, "\n"
		}
		without := line.ReplaceAllString(r.text[file], "")
		if !test.Is.Unset && !test.Is.Nothing {
			all = append(all, changed(file, without))
		}
		if value, ok := spoiled(test.Is); ok {
			all = append(all, changed(file, strings.Replace(without, where, where+added(value), 1)))
		}
	case hardening.Setting:
		file := kubeletConfig
		if test.Proxy {
			file = "/var/lib/kube-proxy/config.yaml"
		}
		with := func(value any) string {
			inner := value
			for i := len(test.Path) - 1; i >= 0; i-- {
				inner = map[string]any{test.Path[i]: inner}
			}
			return string(mergedYAML([]byte(r.text[file]), inner.(map[string]any)))
		}
		if !test.Is.Unset {
			all = append(all, changed(file, with(nil)))
		}
		if value, ok := spoiled(test.Is); ok {
			all = append(all, changed(file, with(value)))
		}
	case hardening.Files:
		for file, found := range r.files {
			if len(all) > 0 || !test.Means(file) && (file != r.data || !test.Means(hardening.DataDirectory)) {
				continue
			}
			if test.Mode != 0 {
				c := changed("", "x")
				c.files[file] = hardening.File{Mode: 0o644 | 0o022, Owner: found.Owner}
				all = append(all, c)
			}
			if test.Owner != "" {
				c := changed("", "x")
				c.files[file] = hardening.File{Mode: found.Mode, Owner: "nobody:nogroup"}
				all = append(all, c)
			}
		}
	case hardening.Absent:
		c := changed("", "x")
		c.files[test.Path] = hardening.File{Mode: 0o600, Owner: "root:root"}
		all = append(all, c)
	case hardening.User:
		all = append(all, changed(etcdUnitFile, strings.Replace(r.text[etcdUnitFile], "User=etcd\n", "", 1)))
	case hardening.AnonymousPaths:
		line := regexp.MustCompile(`(?m)^ *- "--authentication-config=.*\n`)
		manifest := ManifestDirectory + "/kube-apiserver.yaml"
		all = append(all, changed(manifest, line.ReplaceAllString(r.text[manifest], "")),
			changed(authenticationFile, strings.Replace(r.text[authenticationFile], "/healthz", "/api", 1)),
			changed(authenticationFile, "anonymous: {enabled: true}"))
	}
	return all
}

// Whatever a rule looks at: without it, or with another value, mode or owner, its
// check fails, for every minor.
func TestHardeningChecksCanFail(t *testing.T) {
	for _, version := range versions() {
		p := hardened(t, version, inventory.HardeningCIS)
		r := renderedOn(p, p.Inventory.With(inventory.RoleMaster)[0].Name)
		for _, rule := range hardening.Rules() {
			for _, test := range rule.Tests {
				cases := r.spoil(t, test)
				if len(cases) == 0 {
					t.Errorf("%s: rule %s: nothing to spoil of %s", version, rule.ID, test.Where())
				}
				for i, c := range cases {
					if rule.Check(c.seen(t)) == "" {
						t.Errorf("%s: rule %s: %s was spoiled (case %d), and the check passes", version, rule.ID, test.Where(), i)
					}
				}
			}
		}
	}
}

// The user's own flags win.
func TestHardeningYields(t *testing.T) {
	text, err := os.ReadFile("../inventories/single.hcl")
	if err != nil {
		t.Fatal(err)
	}
	p := compile(t, loadText(t, string(text)+`
api_server {
  args = {
    profiling                = true
    "oidc-issuer-url"        = "https://id.example.com"
    enable-admission-plugins = "AlwaysPullImages"
    audit-log-maxage         = 90
  }
}

kubelet {
  settings = { podPidsLimit = 100, protectKernelDefaults = false }
}
`))
	r := renderedOn(p, p.Inventory.With(inventory.RoleMaster)[0].Name)
	seen := r.seen(t)
	for flag, want := range map[string]string{
		"profiling": "true", "enable-admission-plugins": "AlwaysPullImages,NodeRestriction", "audit-log-maxage": "90",
		"authentication-config": "", // API servers refuse it beside the flags of OIDC
	} {
		if got := seen.Flags[hardening.APIServer][flag]; got != want {
			t.Errorf("%s is %q, want %q", flag, got, want)
		}
	}
	if fmt.Sprint(seen.Kubelet["podPidsLimit"], seen.Kubelet["protectKernelDefaults"]) != "100 false" {
		t.Errorf("settings of the kubelet: %v", seen.Kubelet)
	}
	if slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Resource.ID() == resource.Sysctl{Key: "kernel.panic"}.ID() }) {
		t.Error("kernel settings are set that the kubelet sets itself")
	}
}
