package resource_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// host is a set of answers with what the host remembers of earlier applies.
func host(records map[string]fact.Record, answers map[fact.Key]any) fact.Set {
	facts := fact.NewSet(fact.Host{State: fact.State{Resources: records}})
	for key, answer := range answers {
		facts.Put(key, answer)
	}
	return facts
}

func file(path string) fact.Key { return fact.Key{Kind: fact.KindFile, Name: path} }
func unit(name string) fact.Key { return fact.Key{Kind: fact.KindUnit, Name: name} }

// found is a file as it should be but for its content.
func found(content string, mode uint32) fact.File {
	return fact.File{Exists: true, Type: "file", Mode: mode, Owner: "root", Group: "root", SHA256: sha(content), Content: []byte(content), HasContent: true}
}

func sha(content string) string { return resource.SHA256([]byte(content)) }

// diffCase is one judgement of one resource.
type diffCase struct {
	name    string
	r       resource.Resource
	records map[string]fact.Record
	answers map[fact.Key]any
	want    resource.Action
	reasons []resource.Reason
	fields  []resource.Field
	err     string // part of the error, "" for none
}

func run(t *testing.T, tests []diffCase) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			facts := host(test.records, test.answers)
			change, err := test.r.Diff(facts)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error is %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if change.Action != test.want {
				t.Errorf("action is %s, want %s", change.Action, test.want)
			}
			if diff := cmp.Diff(test.reasons, change.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if test.fields != nil {
				if diff := cmp.Diff(test.fields, change.Fields); diff != "" {
					t.Errorf("fields (-want +got):\n%s", diff)
				}
			}
			if change.Action == resource.NoOp && len(change.Reasons)+len(change.Fields) > 0 {
				t.Errorf("nothing is done, but there are reasons or fields: %+v", change)
			}
			// Diff looks at nothing its queries do not ask for.
			asked := map[fact.Key]any{}
			for _, q := range test.r.Queries() {
				if answer, ok := test.answers[q.Key()]; ok {
					asked[q.Key()] = answer
				}
			}
			again, err := test.r.Diff(host(test.records, asked))
			if err != nil {
				t.Errorf("answers to its own queries do not suffice: %v", err)
			}
			if diff := cmp.Diff(change, again); diff != "" {
				t.Errorf("answers it did not ask for make a difference:\n%s", diff)
			}
		})
	}
}

func because(cause resource.Cause, text string) []resource.Reason {
	return []resource.Reason{{Cause: cause, Text: text}}
}

func TestFileDiff(t *testing.T) {
	const path = "/etc/some.conf"
	id := "file:" + path
	f := resource.File{Path: path, Content: []byte("wanted\n")}
	written := func(content string) map[string]fact.Record {
		return map[string]fact.Record{id: {Digest: "0644 root:root", Files: map[string]string{path: sha(content)}}}
	}
	at := func(answer fact.File) map[fact.Key]any { return map[fact.Key]any{file(path): answer} }
	run(t, []diffCase{
		{name: "as wanted", r: f, records: written("wanted\n"), answers: at(found("wanted\n", 0o644)), want: resource.NoOp},
		{name: "as wanted, though never written by kinstall", r: f, answers: at(found("wanted\n", 0o644)), want: resource.NoOp},
		{name: "missing", r: f, answers: at(fact.File{}), want: resource.Create,
			fields: []resource.Field{{Name: "mode", After: "0644"}}},
		{name: "deleted on the host", r: f, records: written("wanted\n"), answers: at(fact.File{}), want: resource.Create,
			reasons: because(resource.Drift, "deleted on the host")},
		{name: "drift", r: f, records: written("wanted\n"), answers: at(found("changed\n", 0o644)), want: resource.Update,
			reasons: because(resource.Drift, "changed on the host")},
		{name: "intent", r: f, records: written("old\n"), answers: at(found("old\n", 0o644)), want: resource.Update,
			reasons: because(resource.Intent, "changed in the inventory")},
		{name: "both", r: f, records: written("old\n"), answers: at(found("changed\n", 0o644)), want: resource.Update,
			reasons: because(resource.Drift, "changed in the inventory and on the host")},
		{name: "somebody else's", r: f, answers: at(found("theirs\n", 0o644)), want: resource.Update,
			reasons: because(resource.Missing, "exists, but was not written by kinstall")},
		{name: "mode", r: f, records: written("wanted\n"), answers: at(found("wanted\n", 0o666)), want: resource.Update,
			reasons: because(resource.Drift, "mode 0666 instead of 0644, changed on the host"),
			fields:  []resource.Field{{Name: "mode", Before: "0666", After: "0644"}}},
		{name: "mode changed in the inventory", r: resource.File{Path: path, Content: []byte("wanted\n"), Ownership: resource.Ownership{Mode: 0o600}},
			records: written("wanted\n"), answers: at(found("wanted\n", 0o644)), want: resource.Update,
			reasons: because(resource.Intent, "mode 0644 instead of 0600")},
		{name: "owner", r: f, records: written("wanted\n"),
			answers: at(fact.File{Exists: true, Type: "file", Mode: 0o644, Owner: "nobody", Group: "nogroup", SHA256: sha("wanted\n")}), want: resource.Update,
			reasons: because(resource.Drift, "owner nobody:nogroup instead of root:root, changed on the host")},
		{name: "directory in the way", r: f, answers: at(fact.File{Exists: true, Type: "directory"}), err: "a directory is in the way"},
		{name: "not observed is not absent", r: f, err: fact.ErrNotObserved.Error()},
	})
}

func TestFileChangeShowsBothTexts(t *testing.T) {
	f := resource.File{Path: "/f", Content: []byte("new\n")}
	change, err := f.Diff(host(nil, map[fact.Key]any{file("/f"): found("old\n", 0o644)}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&resource.Text{Name: "content", Before: "old\n", After: "new\n"}, change.Text); diff != "" {
		t.Error(diff)
	}
	if change.Evidence != sha("old\n") || change.Record.Files["/f"] != sha("new\n") {
		t.Errorf("evidence %s, record %v", change.Evidence, change.Record)
	}
}

// A secret is neither asked for nor shown, whatever differs.
func TestSecretsNeverEnterAChange(t *testing.T) {
	const secret, other = "wanted-secret", "found-secret"
	f := resource.File{Path: "/secret", Content: []byte(secret), Sensitive: true}
	key := resource.AuthorityFile{Authority: "kubernetes", Part: resource.PartPrivateKey, Path: "/ca.key", SHA256: sha(secret)}
	for _, q := range append(f.Queries(), key.Queries()...) {
		if q.Content {
			t.Errorf("the content of %s is asked for", q.Name)
		}
	}
	for _, r := range []resource.Resource{f, key} {
		path := r.Queries()[0].Name
		for name, answer := range map[string]fact.File{"missing": {}, "different": found(other, 0o644), "the same": found(secret, 0o600)} {
			change, err := r.Diff(host(nil, map[fact.Key]any{file(path): answer}))
			if err != nil {
				t.Fatal(err)
			}
			shown, err := json.Marshal(change)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(shown), "secret\"") || strings.Contains(string(shown), secret) || strings.Contains(string(shown), other) {
				t.Errorf("%s, %s: the change shows the secret: %s", r.ID(), name, shown)
			}
			if !change.Sensitive || change.Text != nil {
				t.Errorf("%s, %s: not marked as sensitive", r.ID(), name)
			}
		}
	}
	if own := f.Own(); own.Mode != 0o600 {
		t.Errorf("a secret file has mode %04o", own.Mode)
	}
}

func TestDirectoryDiff(t *testing.T) {
	d := resource.Directory{Path: "/d", Ownership: resource.Ownership{Mode: 0o700}}
	data := resource.Directory{Path: "/d", Ownership: resource.Ownership{Mode: 0o700, Owner: "etcd", Group: "etcd"}, Unit: "etcd.service", Inner: []string{"/d/member"}}
	of := func(owner string) fact.File {
		return fact.File{Exists: true, Type: "directory", Mode: 0o700, Owner: owner, Group: owner}
	}
	dir := func(mode uint32) map[fact.Key]any {
		return map[fact.Key]any{file("/d"): fact.File{Exists: true, Type: "directory", Mode: mode, Owner: "root", Group: "root"}}
	}
	run(t, []diffCase{
		{name: "as wanted", r: d, answers: dir(0o700), want: resource.NoOp},
		{name: "missing", r: d, answers: map[fact.Key]any{file("/d"): fact.File{}}, want: resource.Create},
		{name: "drift", r: d, records: map[string]fact.Record{"directory:/d": {Digest: "0700 root:root"}}, answers: dir(0o755), want: resource.Update,
			reasons: because(resource.Drift, "mode 0755 instead of 0700, changed on the host")},
		{name: "a program's", r: data, answers: map[fact.Key]any{file("/d"): of("etcd"), file("/d/member"): of("etcd")}, want: resource.NoOp},
		{name: "a program's, missing", r: data, answers: map[fact.Key]any{file("/d"): fact.File{}, file("/d/member"): fact.File{}}, want: resource.Create},
		{name: "a program's, of root until now", r: data, records: map[string]fact.Record{"directory:/d": {Digest: "0700 root:root"}},
			answers: map[fact.Key]any{file("/d"): of("root"), file("/d/member"): of("root")}, want: resource.Update,
			reasons: because(resource.Intent, "owner root:root instead of etcd:etcd")},
		{name: "a program's, with something of root's in it", r: data, records: map[string]fact.Record{"directory:/d": {Digest: "0700 etcd:etcd"}},
			answers: map[fact.Key]any{file("/d"): of("etcd"), file("/d/member"): of("root")}, want: resource.Update,
			reasons: because(resource.Drift, "/d/member belongs to root")},
		{name: "file in the way", r: d, answers: map[fact.Key]any{file("/d"): found("", 0o644)}, err: "a file is in the way"},
	})
}

func TestBlockSplice(t *testing.T) {
	const begin, end = "# BEGIN kinstall hosts\n", "# END kinstall hosts\n"
	for _, test := range []struct{ name, block, before, want, err string }{
		{"into nothing", "a\n", "", begin + "a\n" + end, ""},
		{"at the end", "a\n", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + begin + "a\n" + end, ""},
		{"after a last line without newline", "a\n", "x", "x\n" + begin + "a\n" + end, ""},
		{"in place", "b\n", "x\n" + begin + "a\n" + end + "y", "x\n" + begin + "b\n" + end + "y", ""},
		{"unchanged", "a\n", "x\n" + begin + "a\n" + end + "y\n", "x\n" + begin + "a\n" + end + "y\n", ""},
		{"taken away", "", "x\n" + begin + "a\n" + end + "y\n", "x\ny\n", ""},
		{"taken away where there is none", "", "x", "x", ""},
		{"other blocks stay", "b\n", "# BEGIN kinstall other\nq\n# END kinstall other\n" + begin + end, "# BEGIN kinstall other\nq\n# END kinstall other\n" + begin + "b\n" + end, ""},
		{"CRLF markers", "b\n", "x\r\n# BEGIN kinstall hosts\r\na\r\n# END kinstall hosts\r\ny\r\n", "x\r\n" + begin + "b\n" + end + "y\r\n", ""},
		{"no end", "b\n", "x\n" + begin + "a\n", "", "is missing after"},
		{"no beginning", "b\n", end, "", "has no beginning"},
		{"twice", "b\n", begin + end + begin + end, "", "stands there twice"},
		{"nested", "b\n", begin + begin + end, "", "stands there twice"},
	} {
		got, err := resource.Block{Path: "/etc/hosts", Name: "hosts", Content: test.block}.Splice(test.before)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "/etc/hosts") {
				t.Errorf("%s: error is %v", test.name, err)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%s: got %q (%v), want %q", test.name, got, err, test.want)
		}
	}
}

func TestBlockDiff(t *testing.T) {
	const begin, end = "# BEGIN kinstall hosts\n", "# END kinstall hosts\n"
	b := resource.Block{Path: "/etc/hosts", Name: "hosts", Content: "new\n"}
	wrote := func(content string) map[string]fact.Record {
		return map[string]fact.Record{"block:/etc/hosts#hosts": {Files: map[string]string{"/etc/hosts#hosts": sha(content)}}}
	}
	at := func(content string) map[fact.Key]any {
		return map[fact.Key]any{file("/etc/hosts"): found(content, 0o644)}
	}
	run(t, []diffCase{
		{name: "as wanted", r: b, records: wrote("new\n"), answers: at("x\n" + begin + "new\n" + end), want: resource.NoOp},
		{name: "others change their lines", r: b, records: wrote("new\n"), answers: at("y\n" + begin + "new\n" + end + "z\n"), want: resource.NoOp},
		{name: "missing", r: b, answers: at("x\n"), want: resource.Create},
		{name: "no file", r: b, answers: map[fact.Key]any{file("/etc/hosts"): fact.File{}}, want: resource.Create},
		{name: "deleted", r: b, records: wrote("new\n"), answers: at("x\n"), want: resource.Create, reasons: because(resource.Drift, "deleted on the host")},
		{name: "intent", r: b, records: wrote("old\n"), answers: at(begin + "old\n" + end), want: resource.Update, reasons: because(resource.Intent, "changed in the inventory")},
		{name: "drift", r: b, records: wrote("new\n"), answers: at(begin + "hacked\n" + end), want: resource.Update, reasons: because(resource.Drift, "changed on the host")},
		{name: "broken", r: b, answers: at(begin), err: "is missing after"},
	})
}

func TestArtifactDiff(t *testing.T) {
	a := resource.Artifact{Name: "etcd", Version: "3.6.8", Location: "github.com/x", SHA256: "new", Members: []resource.Member{
		{From: "a/etcd", To: "/usr/local/bin/etcd"}, {From: "a/etcdctl", To: "/usr/local/bin/etcdctl"}}}
	record := func(digest string) map[string]fact.Record {
		return map[string]fact.Record{"artifact:etcd": {Digest: digest, Files: map[string]string{"/usr/local/bin/etcd": sha("e"), "/usr/local/bin/etcdctl": sha("c")}}}
	}
	both := func(etcd, ctl fact.File) map[fact.Key]any {
		return map[fact.Key]any{file("/usr/local/bin/etcd"): etcd, file("/usr/local/bin/etcdctl"): ctl}
	}
	run(t, []diffCase{
		{name: "as wanted", r: a, records: record("new"), answers: both(found("e", 0o755), found("c", 0o755)), want: resource.NoOp},
		{name: "missing", r: a, answers: both(fact.File{}, fact.File{}), want: resource.Create},
		{name: "another version", r: a, records: record("old"), answers: both(found("e", 0o755), found("c", 0o755)), want: resource.Update,
			reasons: because(resource.Intent, "another version is installed")},
		{name: "somebody else's", r: a, answers: both(found("e", 0o755), found("c", 0o755)), want: resource.Update,
			reasons: because(resource.Missing, "exists, but was not installed by kinstall")},
		{name: "one member altered", r: a, records: record("new"), answers: both(found("x", 0o755), found("c", 0o755)), want: resource.Update,
			reasons: because(resource.Drift, "/usr/local/bin/etcd changed on the host")},
		{name: "one member deleted", r: a, records: record("new"), answers: both(found("e", 0o755), fact.File{}), want: resource.Update,
			reasons: because(resource.Drift, "/usr/local/bin/etcdctl deleted on the host")},
		{name: "mode", r: a, records: record("new"), answers: both(found("e", 0o644), found("c", 0o755)), want: resource.Update,
			reasons: because(resource.Drift, "/usr/local/bin/etcd has mode 0644")},
		{name: "directory in the way", r: a, answers: both(fact.File{Exists: true, Type: "directory"}, fact.File{}), err: "in the way"},
	})
}

func TestImageDiff(t *testing.T) {
	i := resource.Image{Reference: "registry.k8s.io/pause:3.10.1", Location: "registry.k8s.io/pause/3.10.1.tar", SHA256: "new"}
	at := func(answer fact.Image) map[fact.Key]any {
		return map[fact.Key]any{{Kind: fact.KindImage, Name: i.Reference}: answer}
	}
	record := func(digest string) map[string]fact.Record {
		return map[string]fact.Record{string(i.ID()): {Digest: digest}}
	}
	content := map[string]fact.Record{string(i.ID()): {Digest: "new", Content: "sha256:aa"}}
	run(t, []diffCase{
		{name: "as wanted", r: i, records: record("new"), answers: at(fact.Image{Observable: true, Exists: true}), want: resource.NoOp},
		{name: "missing", r: i, answers: at(fact.Image{Observable: true}), want: resource.Create},
		{name: "containerd is not there yet", r: i, answers: at(fact.Image{}), want: resource.Create},
		{name: "containerd does not answer", r: i, records: record("new"), answers: at(fact.Image{}), want: resource.Deferred,
			reasons: because(resource.Unknown, "containerd does not answer yet")},
		{name: "deleted", r: i, records: record("new"), answers: at(fact.Image{Observable: true}), want: resource.Create,
			reasons: because(resource.Drift, "deleted on the host")},
		{name: "another archive", r: i, records: record("old"), answers: at(fact.Image{Observable: true, Exists: true}), want: resource.Replace,
			reasons: because(resource.Intent, "another archive was imported")},
		{name: "the same content", r: i, records: content, answers: at(fact.Image{Observable: true, Exists: true, Digest: "sha256:aa"}), want: resource.NoOp},
		{name: "another content under its name", r: i, records: content, answers: at(fact.Image{Observable: true, Exists: true, Digest: "sha256:bb"}), want: resource.Replace,
			reasons: because(resource.Drift, "names another image than the one imported"), fields: []resource.Field{{Name: "image", Before: "sha256:bb", After: "sha256:aa"}}},
		{name: "pulled by somebody", r: i, answers: at(fact.Image{Observable: true, Exists: true}), want: resource.Replace,
			reasons: because(resource.Missing, "exists, but was not imported by kinstall")},
	})
}

// What is there counts as imported where a state does not say what that was: it
// is of a version that did not remember.
func TestImageRemembersItsContent(t *testing.T) {
	i := resource.Image{Reference: "registry.k8s.io/pause:3.10.1", SHA256: "new"}
	facts := host(map[string]fact.Record{string(i.ID()): {Digest: "new"}}, map[fact.Key]any{
		{Kind: fact.KindImage, Name: i.Reference}: fact.Image{Observable: true, Exists: true, Digest: "sha256:aa"},
	})
	change, err := i.Diff(facts)
	if err != nil || change.Action != resource.NoOp || change.Record.Content != "sha256:aa" {
		t.Errorf("%+v, %v", change, err)
	}
}

func TestHostKindsDiff(t *testing.T) {
	sysctl := resource.Sysctl{Key: "net.ipv4.ip_local_port_range", Value: "1024 65000"}
	limit := resource.Sysctl{Key: "fs.inotify.max_user_instances", Value: "8192", AtLeast: true}
	value := func(kind fact.Kind, name, value string, exists bool) map[fact.Key]any {
		return map[fact.Key]any{{Kind: kind, Name: name}: fact.Value{Exists: exists, Value: value}}
	}
	module := resource.Module{Name: "overlay"}
	pkg := resource.Package{Name: "socat"}
	route := resource.Route{Destination: "10.244.1.0/24", Via: "10.0.0.2"}
	rule := resource.FirewallRule{Table: "filter", Chain: "FORWARD", Rule: []string{"-s", "10.244.0.0/16", "-j", "ACCEPT"}}
	ruleName := "filter/FORWARD -s 10.244.0.0/16 -j ACCEPT"
	at := func(kind fact.Kind, name string, answer any) map[fact.Key]any {
		return map[fact.Key]any{{Kind: kind, Name: name}: answer}
	}
	run(t, []diffCase{
		{name: "sysctl, tabs", r: sysctl, answers: value(fact.KindSysctl, sysctl.Key, "1024\t65000", true), want: resource.NoOp},
		{name: "sysctl, never set", r: sysctl, answers: value(fact.KindSysctl, sysctl.Key, "32768\t60999", true), want: resource.Update},
		{name: "sysctl, missing before its module is loaded", r: sysctl, answers: value(fact.KindSysctl, sysctl.Key, "", false), want: resource.Update},
		{name: "sysctl, drift", r: sysctl, records: map[string]fact.Record{string(sysctl.ID()): {Digest: "1024 65000"}},
			answers: value(fact.KindSysctl, sysctl.Key, "1 2", true), want: resource.Update, reasons: because(resource.Drift, "changed on the host")},
		{name: "sysctl, intent", r: sysctl, records: map[string]fact.Record{string(sysctl.ID()): {Digest: "1 2"}},
			answers: value(fact.KindSysctl, sysctl.Key, "1 2", true), want: resource.Update, reasons: because(resource.Intent, "changed in the inventory")},
		{name: "limit, as asked for", r: limit, answers: value(fact.KindSysctl, limit.Key, "8192", true), want: resource.NoOp},
		{name: "limit, higher and shorter by its letters", r: resource.Sysctl{Key: limit.Key, Value: "9000", AtLeast: true},
			answers: value(fact.KindSysctl, limit.Key, "10000", true), want: resource.NoOp},
		{name: "limit, raised on the host", r: limit, records: map[string]fact.Record{string(limit.ID()): {Digest: "8192"}},
			answers: value(fact.KindSysctl, limit.Key, "16384", true), want: resource.NoOp},
		{name: "limit, the kernel's own", r: limit, answers: value(fact.KindSysctl, limit.Key, "128", true), want: resource.Update,
			fields: []resource.Field{{Name: "value", Before: "128", After: "8192"}}},
		{name: "limit, lowered on the host", r: limit, records: map[string]fact.Record{string(limit.ID()): {Digest: "8192"}},
			answers: value(fact.KindSysctl, limit.Key, "128", true), want: resource.Update, reasons: because(resource.Drift, "changed on the host")},
		{name: "limit, missing", r: limit, answers: value(fact.KindSysctl, limit.Key, "", false), want: resource.Update},
		{name: "value, higher than asked for", r: resource.Sysctl{Key: limit.Key, Value: "8192"},
			answers: value(fact.KindSysctl, limit.Key, "16384", true), want: resource.Update},
		{name: "module, loaded", r: module, answers: value(fact.KindModule, "overlay", "", true), want: resource.NoOp},
		{name: "module, missing", r: module, answers: value(fact.KindModule, "overlay", "", false), want: resource.Create},
		{name: "package, installed", r: pkg, answers: at(fact.KindPackage, "socat", fact.Package{Installed: true, Version: "1"}), want: resource.NoOp},
		{name: "package, missing", r: pkg, answers: at(fact.KindPackage, "socat", fact.Package{}), want: resource.Create},
		{name: "route, as wanted", r: route, answers: at(fact.KindRoute, fact.RouteOfMetric(route.Destination, resource.RouteMetric), fact.Route{Exists: true, Via: "10.0.0.2", Device: "eth0"}), want: resource.NoOp},
		{name: "route, missing", r: route, answers: at(fact.KindRoute, fact.RouteOfMetric(route.Destination, resource.RouteMetric), fact.Route{}), want: resource.Create},
		{name: "route, deleted", r: route, records: map[string]fact.Record{string(route.ID()): {Digest: "10.0.0.2"}},
			answers: at(fact.KindRoute, fact.RouteOfMetric(route.Destination, resource.RouteMetric), fact.Route{}), want: resource.Create, reasons: because(resource.Drift, "changed on the host")},
		{name: "route, elsewhere", r: route, answers: at(fact.KindRoute, fact.RouteOfMetric(route.Destination, resource.RouteMetric), fact.Route{Exists: true, Via: "10.0.0.9"}), want: resource.Update,
			fields: []resource.Field{{Name: "via", Before: "10.0.0.9", After: "10.0.0.2"}}},
		{name: "rule, there", r: rule, answers: value(fact.KindFirewall, ruleName, "", true), want: resource.NoOp},
		{name: "rule, flushed", r: rule, records: map[string]fact.Record{string(rule.ID()): {Digest: "present"}},
			answers: value(fact.KindFirewall, ruleName, "", false), want: resource.Create, reasons: because(resource.Drift, "changed on the host")},
	})
	back, err := resource.ParseFirewallRule(rule.ID())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rule, back); diff != "" {
		t.Error(diff)
	}
	if _, err := resource.ParseFirewallRule("firewall:nonsense"); err == nil {
		t.Error("nonsense is read as a rule")
	}
}

func TestHostnameAndSwapDiff(t *testing.T) {
	facts := fact.NewSet(fact.Host{Hostname: "debian", SwapActive: []string{"/dev/sda2"}})
	fstab := "UUID=1 / ext4 defaults 0 1\n/swap.img none swap sw 0 0\n# /old none swap sw\n"
	facts.Put(file("/etc/fstab"), found(fstab, 0o644))

	change, err := resource.Hostname{Name: "emei"}.Diff(facts)
	if err != nil || change.Action != resource.Update {
		t.Errorf("hostname: %+v, %v", change, err)
	}
	if change, err := (resource.Hostname{Name: "debian"}).Diff(facts); err != nil || change.Action != resource.NoOp {
		t.Errorf("hostname as wanted: %+v, %v", change, err)
	}
	change, err = resource.SwapOff{}.Diff(facts)
	if err != nil {
		t.Fatal(err)
	}
	want := "UUID=1 / ext4 defaults 0 1\n# disabled by kinstall: /swap.img none swap sw 0 0\n# /old none swap sw\n"
	if change.Action != resource.Update || change.Text.After != want || len(change.Reasons) != 2 {
		t.Errorf("swap: %+v", change)
	}
	// What was never off is no drift; what was off once is.
	if cause := change.Reasons[0].Cause; cause != resource.Missing {
		t.Errorf("swap on a bare machine: %s", cause)
	}
	facts.Host.State = fact.State{Resources: map[string]fact.Record{string(resource.SwapOff{}.ID()): {Digest: "off"}}}
	if change, err := (resource.SwapOff{}).Diff(facts); err != nil || change.Reasons[0].Cause != resource.Drift {
		t.Errorf("swap that was off: %+v, %v", change, err)
	}
	off := fact.NewSet(fact.Host{})
	off.Put(file("/etc/fstab"), found(want, 0o644))
	if change, err := (resource.SwapOff{}).Diff(off); err != nil || change.Action != resource.NoOp {
		t.Errorf("swap that is off: %+v, %v", change, err)
	}
}

func TestAuthorityDiff(t *testing.T) {
	f := resource.AuthorityFile{Authority: "etcd", Part: resource.PartCertificate, Path: "/ca.crt", SHA256: sha("ca")}
	later := f
	later.SHA256 = ""
	wrote := map[string]fact.Record{"authorityfile:/ca.crt": {Digest: "0644 root:root", Files: map[string]string{"/ca.crt": sha("ca")}}}
	at := func(answer fact.File) map[fact.Key]any { return map[fact.Key]any{file("/ca.crt"): answer} }
	run(t, []diffCase{
		{name: "as wanted", r: f, records: wrote, answers: at(found("ca", 0o644)), want: resource.NoOp},
		{name: "missing", r: f, answers: at(fact.File{}), want: resource.Create,
			fields: []resource.Field{{Name: "holds", After: "certificate of authority etcd"}}},
		{name: "of an authority yet to be created", r: later, answers: at(fact.File{}), want: resource.Create},
		{name: "drift", r: f, records: wrote, answers: at(found("evil", 0o644)), want: resource.Update, reasons: because(resource.Drift, "changed on the host")},
		{name: "mode", r: f, records: wrote, answers: at(found("ca", 0o666)), want: resource.Update, reasons: because(resource.Drift, "mode 0666 instead of 0644, changed on the host")},
		{name: "the authority was lost", r: later, answers: at(found("ca", 0o644)), err: "not in the pki directory"},
		{name: "authority exists", r: resource.Authority{Name: "etcd", CommonName: "etcd-ca", Exists: true}, want: resource.NoOp},
		{name: "authority missing", r: resource.Authority{Name: "etcd", CommonName: "etcd-ca"}, want: resource.Create},
		{name: "key in the clear", r: resource.Authority{Name: "etcd", CommonName: "etcd-ca", Exists: true, Encrypt: true}, want: resource.Update, reasons: because(resource.Intent, "its private key lies in the clear")},
		{name: "key encrypted", r: resource.Authority{Name: "etcd", CommonName: "etcd-ca", Exists: true, Encrypt: true, Encrypted: true}, want: resource.NoOp},
		{name: "key of somebody else", r: resource.Authority{Name: "etcd", CommonName: "etcd-ca", Exists: true, Encrypt: true, Remote: true}, want: resource.NoOp},
		{name: "key pair missing", r: resource.Authority{Name: "service-account"}, want: resource.Create,
			fields: []resource.Field{{Name: "key", After: "new, for signing tokens"}}},
	})
	if key := (resource.AuthorityFile{Part: resource.PartPrivateKey}); key.Own().Mode != 0o600 {
		t.Errorf("a private key has mode %04o", key.Own().Mode)
	}
}

func TestNodeDiff(t *testing.T) {
	taint := fact.Taint{Key: "dedicated", Value: "db", Effect: "NoSchedule"}
	n := resource.Node{Name: "huashan", Labels: map[string]string{"zone": "north"}, Taints: []fact.Taint{taint}, PodCIDRs: []string{"10.244.1.0/24"}}
	both := n
	both.PodCIDRs = []string{"10.244.1.0/24", "fd00:10:244:1::/64"}
	both.Annotations = map[string]string{"example.com/address": "fd00::1"}
	noted := n
	noted.Annotations = both.Annotations
	cordoned, drained := n, n
	cordoned.Schedule, drained.Schedule = resource.Cordoned, resource.Drained
	marked := func(why string) func(*fact.Node) {
		return func(f *fact.Node) {
			f.Unschedulable, f.Cordon, f.Annotations[resource.CordonAnnotation] = true, why, why
		}
	}
	older := func(f *fact.Node) {
		f.Annotations[resource.ManagedLabelsAnnotation], f.Annotations[resource.ManagedTaintsAnnotation] = "zone", "dedicated:NoSchedule"
	}
	good := func(edit func(*fact.Node)) map[fact.Key]any {
		node := fact.Node{
			Exists: true, Ready: true, Labels: map[string]string{"zone": "north", "theirs": "1"}, Taints: []fact.Taint{taint, {Key: "theirs", Effect: "NoExecute"}},
			Annotations: map[string]string{resource.ManagedLabelsAnnotation: "zone=north", resource.ManagedTaintsAnnotation: "dedicated=db:NoSchedule"},
			PodCIDRs:    []string{"10.244.1.0/24"},
		}
		if edit != nil {
			edit(&node)
		}
		return map[fact.Key]any{{Kind: fact.KindNode, Name: "huashan"}: node}
	}
	run(t, []diffCase{
		{name: "as wanted", r: n, answers: good(nil), want: resource.NoOp},
		{name: "no API yet", r: n, want: resource.Deferred, reasons: because(resource.Unknown, "the API server does not answer yet")},
		{name: "not registered", r: n, answers: good(func(f *fact.Node) { *f = fact.Node{} }), want: resource.Deferred,
			reasons: because(resource.Unknown, "the kubelet has not registered yet")},
		{name: "not ready", r: n, answers: good(func(f *fact.Node) {
			f.Ready, f.Reason, f.Message = false, "NodeStatusUnknown", "Kubelet stopped posting node status."
		}), want: resource.Verify, reasons: because(resource.Drift, "NotReady: Kubelet stopped posting node status.")},
		{name: "not ready, for a reason", r: n, answers: good(func(f *fact.Node) { f.Ready, f.Reason = false, "KubeletNotReady" }), want: resource.Verify,
			reasons: because(resource.Drift, "NotReady: KubeletNotReady")},
		{name: "not ready, and changed", r: n, answers: good(func(f *fact.Node) { f.Ready = false; delete(f.Labels, "zone") }), want: resource.Update,
			reasons: append(because(resource.Drift, "label zone removed on the cluster"), because(resource.Drift, "NotReady: the kubelet has not reported its status")...)},
		{name: "just registered", r: resource.Node{Name: "huashan"}, answers: map[fact.Key]any{{Kind: fact.KindNode, Name: "huashan"}: fact.Node{Exists: true, Message: "cni plugin not initialized"}},
			want: resource.Update, reasons: append(because(resource.Intent, "not yet marked as managed by kinstall"), because(resource.Unknown, "NotReady: cni plugin not initialized")...)},
		{name: "label removed by hand", r: n, answers: good(func(f *fact.Node) { delete(f.Labels, "zone") }), want: resource.Update,
			reasons: because(resource.Drift, "label zone removed on the cluster"), fields: []resource.Field{{Name: "label", After: "zone=north"}}},
		{name: "label new in the inventory", r: n, answers: good(func(f *fact.Node) { delete(f.Labels, "zone"); f.Annotations[resource.ManagedLabelsAnnotation] = "" }),
			want: resource.Update, reasons: because(resource.Intent, "label zone missing")},
		{name: "label left the inventory", r: n, answers: good(func(f *fact.Node) {
			f.Labels["old"] = "1"
			f.Annotations[resource.ManagedLabelsAnnotation] = "old=1,zone=north"
		}), want: resource.Update, reasons: because(resource.Intent, "label old left the inventory"), fields: []resource.Field{{Name: "label", Before: "old=1"}}},
		{name: "taint removed by hand", r: n, answers: good(func(f *fact.Node) { f.Taints = nil }), want: resource.Update,
			reasons: because(resource.Drift, "taint dedicated=db:NoSchedule removed on the cluster")},
		{name: "label changed in the inventory", r: n, answers: good(func(f *fact.Node) {
			f.Labels["zone"] = "south"
			f.Annotations[resource.ManagedLabelsAnnotation] = "zone=south"
		}), want: resource.Update, reasons: because(resource.Intent, "label zone changed in the inventory"), fields: []resource.Field{{Name: "label", Before: "zone=south", After: "zone=north"}}},
		{name: "label changed by hand", r: n, answers: good(func(f *fact.Node) { f.Labels["zone"] = "south" }), want: resource.Update,
			reasons: because(resource.Drift, "label zone changed on the cluster"), fields: []resource.Field{{Name: "label", Before: "zone=south", After: "zone=north"}}},
		{name: "label changed on both sides", r: n, answers: good(func(f *fact.Node) {
			f.Labels["zone"] = "south"
			f.Annotations[resource.ManagedLabelsAnnotation] = "zone=west"
		}), want: resource.Update, reasons: because(resource.Drift, "label zone changed in the inventory and on the cluster")},
		{name: "label of somebody else", r: n, answers: good(func(f *fact.Node) {
			f.Labels["zone"] = "south"
			f.Annotations[resource.ManagedLabelsAnnotation] = ""
		}), want: resource.Update, reasons: because(resource.Missing, "label zone exists, but was not set by kinstall")},
		{name: "taint changed in the inventory", r: n, answers: good(func(f *fact.Node) {
			f.Taints[0].Value = "web"
			f.Annotations[resource.ManagedTaintsAnnotation] = "dedicated=web:NoSchedule"
		}), want: resource.Update, reasons: because(resource.Intent, "taint dedicated=db:NoSchedule changed in the inventory"),
			fields: []resource.Field{{Name: "taint", Before: "dedicated=web:NoSchedule", After: "dedicated=db:NoSchedule"}}},
		{name: "taint changed by hand", r: n, answers: good(func(f *fact.Node) { f.Taints[0].Value = "web" }), want: resource.Update,
			reasons: because(resource.Drift, "taint dedicated=db:NoSchedule changed on the cluster")},
		{name: "annotation changed in the inventory", r: noted, answers: good(func(f *fact.Node) {
			f.Annotations["example.com/address"] = "fd00::2, fd00::3"
			f.Annotations[resource.ManagedAnnotationsAnnotation] = "example.com/address=" + sha("fd00::2, fd00::3")[:16]
		}), want: resource.Update, reasons: because(resource.Intent, "annotation example.com/address changed in the inventory")},
		{name: "annotation changed by hand", r: noted, answers: good(func(f *fact.Node) {
			f.Annotations["example.com/address"] = "fd00::2"
			f.Annotations[resource.ManagedAnnotationsAnnotation] = "example.com/address=" + sha("fd00::1")[:16]
		}), want: resource.Update, reasons: because(resource.Drift, "annotation example.com/address changed on the cluster")},
		// What an older kinstall wrote down: that it set these, and not what.
		{name: "as wanted, set by an older kinstall", r: n, answers: good(older), want: resource.Update,
			reasons: because(resource.Intent, "what kinstall sets is not recorded there")},
		{name: "changed, set by an older kinstall", r: n, answers: good(func(f *fact.Node) { older(f); f.Labels["zone"] = "south"; f.Taints = f.Taints[1:] }), want: resource.Update,
			reasons: []resource.Reason{{Cause: resource.Unknown, Text: "label zone differs; what kinstall set before is not recorded"},
				{Cause: resource.Drift, Text: "taint dedicated=db:NoSchedule removed on the cluster"}}},
		{name: "left the inventory, set by an older kinstall", r: resource.Node{Name: "huashan"}, answers: good(older), want: resource.Update,
			reasons: append(because(resource.Intent, "label zone left the inventory"), because(resource.Intent, "taint dedicated:NoSchedule left the inventory")...)},
		{name: "taint left the inventory", r: n, answers: good(func(f *fact.Node) {
			f.Taints = append(f.Taints, fact.Taint{Key: "old", Effect: "NoSchedule"})
			f.Annotations[resource.ManagedTaintsAnnotation] = "dedicated=db:NoSchedule,old=:NoSchedule"
		}), want: resource.Update, reasons: because(resource.Intent, "taint old:NoSchedule left the inventory")},
		{name: "cordon", r: cordoned, answers: good(nil), want: resource.Update, reasons: because(resource.Intent, "cordon: cordoned in the inventory"),
			fields: []resource.Field{{Name: "unschedulable", After: "true"}}},
		{name: "drain", r: drained, answers: good(func(f *fact.Node) { f.Pods = []fact.NodePod{{Namespace: "default", Name: "web", EmptyDir: true}} }), want: resource.Update,
			reasons: []resource.Reason{{Cause: resource.Intent, Text: "cordon: drained in the inventory"}, {Cause: resource.Intent, Text: "drain: 1 pod would be evicted, 1 with data in an emptyDir volume, which ends with it"}},
			fields:  []resource.Field{{Name: "unschedulable", After: "true"}, {Name: "pod", Before: "default/web"}}},
		{name: "cordoned", r: cordoned, answers: good(marked(resource.CordonForState)), want: resource.NoOp},
		{name: "drained", r: drained, answers: good(marked(resource.CordonForState)), want: resource.NoOp},
		{name: "cordoned by somebody else", r: n, answers: good(func(f *fact.Node) { f.Unschedulable = true }), want: resource.NoOp},
		{name: "cordoned by somebody else, as wanted", r: cordoned, answers: good(func(f *fact.Node) { f.Unschedulable = true }), want: resource.NoOp},
		{name: "uncordon", r: n, answers: good(marked(resource.CordonForState)), want: resource.Update,
			reasons: because(resource.Intent, "uncordon: kinstall cordoned it for its `state` in the inventory"), fields: []resource.Field{{Name: "unschedulable", Before: "true"}}},
		{name: "left cordoned by a run that died", r: n, answers: good(marked(resource.CordonForTurn)), want: resource.Update,
			reasons: because(resource.Intent, "uncordon: kinstall cordoned it for a change of its host that did not come to its end")},
		{name: "left cordoned by a run that died, and to stay so", r: cordoned, answers: good(marked(resource.CordonForTurn)), want: resource.Update,
			reasons: because(resource.Intent, "stays cordoned: cordoned in the inventory")},
		{name: "uncordoned by hand", r: cordoned, answers: good(func(f *fact.Node) { f.Annotations[resource.CordonAnnotation] = resource.CordonForState }), want: resource.Update,
			reasons: because(resource.Drift, "cordon: it was uncordoned on the cluster")},
		{name: "uncordoned by hand, and to be so", r: n, answers: good(func(f *fact.Node) { f.Annotations[resource.CordonAnnotation] = resource.CordonForState }), want: resource.Update,
			reasons: because(resource.Drift, "what kinstall cordoned was uncordoned on the cluster")},
		{name: "no pod network yet", r: n, answers: good(func(f *fact.Node) { f.PodCIDRs = nil }), want: resource.Update,
			reasons: because(resource.Intent, "pod network not set")},
		{name: "another pod network", r: n, answers: good(func(f *fact.Node) { f.PodCIDRs = []string{"10.1.0.0/24"} }), err: "keeps its pod network for life"},
		{name: "a second pod network", r: both, answers: good(nil), err: "has the pod network 10.244.1.0/24, the plan says 10.244.1.0/24,fd00:10:244:1::/64"},
		{name: "a second pod network too many", r: n, answers: good(func(f *fact.Node) { f.PodCIDRs = both.PodCIDRs }), err: "the plan says 10.244.1.0/24;"},
		{name: "two pod networks", r: both, answers: good(func(f *fact.Node) { f.PodCIDRs = nil }), want: resource.Update, fields: []resource.Field{
			{Name: "annotation", After: "example.com/address=fd00::1"}, {Name: "podCIDR", After: "10.244.1.0/24,fd00:10:244:1::/64"}},
			reasons: append(because(resource.Intent, "annotation example.com/address missing"), because(resource.Intent, "pod network not set")...)},
		{name: "not marked", r: n, answers: good(func(f *fact.Node) { f.Annotations = nil }), want: resource.Update,
			reasons: because(resource.Intent, "not yet marked as managed by kinstall")},
	})
}

func TestObjectDiff(t *testing.T) {
	o := resource.Object{APIVersion: "v1", Kind: "Service", Namespace: "kube-system", Name: "kube-dns", YAML: "kind: Service\n"}
	if o.ID() != "object:v1/Service/kube-system/kube-dns" {
		t.Errorf("ID is %s", o.ID())
	}
	conditional := o
	conditional.Conditional = true
	at := func(answer fact.Object) map[fact.Key]any {
		return map[fact.Key]any{{Kind: fact.KindObject, Name: "v1/Service/kube-system/kube-dns"}: answer}
	}
	run(t, []diffCase{
		{name: "as wanted", r: o, answers: at(fact.Object{Exists: true, Live: "a", Planned: "a"}), want: resource.NoOp},
		{name: "missing", r: o, answers: at(fact.Object{}), want: resource.Create},
		{name: "changed on the cluster", r: o, answers: at(fact.Object{Exists: true, Live: "a", Planned: "b", Managed: true, Applied: o.Digest()}), want: resource.Update, reasons: because(resource.Drift, "changed on the cluster")},
		{name: "changed in the inventory", r: o, answers: at(fact.Object{Exists: true, Live: "a", Planned: "b", Managed: true, Applied: sha("another")}), want: resource.Update, reasons: because(resource.Intent, "changed in the inventory")},
		{name: "applied by an older kinstall", r: o, answers: at(fact.Object{Exists: true, Live: "a", Planned: "b", Managed: true}), want: resource.Update,
			reasons: because(resource.Unknown, "differs; what kinstall applied before is not recorded")},
		{name: "somebody else's", r: o, answers: at(fact.Object{Exists: true, Live: "a", Planned: "b"}), want: resource.Update, reasons: because(resource.Missing, "exists, but was not applied by kinstall")},
		{name: "as wanted, by an older kinstall", r: o, answers: at(fact.Object{Exists: true, Live: "a", Planned: "a", Managed: true}), want: resource.NoOp},
		{name: "no API yet", r: o, want: resource.Deferred, reasons: because(resource.Unknown, "the API server does not answer yet")},
		{name: "refused for good", r: o, answers: at(fact.Object{Exists: true, Live: "a", Refused: "clusterIPs: Invalid value"}), err: "the API server refuses it: clusterIPs: Invalid value"},
		{name: "refused for now", r: conditional, answers: at(fact.Object{Exists: true, Live: "a", Refused: "clusterIPs: Invalid value"}), want: resource.Deferred,
			reasons: because(resource.Unknown, "the API server would refuse it now: clusterIPs: Invalid value")},
	})
}

func TestOperatorKindsDiff(t *testing.T) {
	run(t, []diffCase{
		{name: "lock unchanged", r: resource.LockFile{Path: "l", Before: []byte("a"), After: []byte("a")}, want: resource.NoOp},
		{name: "lock new", r: resource.LockFile{Path: "l", After: []byte("a")}, want: resource.Create},
		{name: "lock changed", r: resource.LockFile{Path: "l", Before: []byte("a"), After: []byte("b")}, want: resource.Update},
		{name: "orphaned file", r: resource.Orphan{Was: "file:/f"}, want: resource.Delete, reasons: because(resource.Intent, "left the inventory")},
		{name: "orphaned package", r: resource.Orphan{Was: "package:socat"}, want: resource.NoOp},
		{name: "orphaned directory", r: resource.Orphan{Was: "directory:/var/lib/etcd"}, want: resource.NoOp},
		{name: "gate", r: resource.Gate{Check: resource.Check{Kind: resource.CheckNode, Host: "emei"}}, want: resource.NoOp},
	})
	if id := (resource.Gate{Check: resource.Check{Kind: resource.CheckNode, Host: "emei"}}).ID(); id != "gate:node/emei" {
		t.Errorf("gate's ID is %s", id)
	}
}

// Every kind says that it was not told, rather than guess.
func TestNotObservedIsAnError(t *testing.T) {
	for _, r := range []resource.Resource{
		resource.File{Path: "/f"}, resource.Directory{Path: "/d"}, resource.Block{Path: "/b", Name: "n"}, resource.SwapOff{},
		resource.Sysctl{Key: "k"}, resource.Module{Name: "m"}, resource.Package{Name: "p"}, resource.Route{Destination: "d"},
		resource.FirewallRule{Table: "t", Chain: "c"}, resource.Certificate{Path: "/c", KeyPath: "/k"}, resource.AuthorityFile{Path: "/a"},
		resource.Artifact{Members: []resource.Member{{To: "/m"}}}, resource.Image{Reference: "i"}, resource.Unit{Name: "u.service"}, resource.StaticPod{Path: "/p"},
	} {
		if _, err := r.Diff(fact.NewSet(fact.Host{})); !errors.Is(err, fact.ErrNotObserved) {
			t.Errorf("%s: error is %v", r.ID(), err)
		}
	}
}

// A block that the host says is as wanted needs no content to be judged; its
// question carries the digest of the very lines that Splice writes.
func TestBlockByDigest(t *testing.T) {
	b := resource.Block{Path: "/etc/hosts", Name: "hosts", Content: "10.0.0.1 a\n"}
	lines, err := b.Splice("")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []resource.Block{b, b.WithDigests()} {
		q := b.Queries()[0]
		if !q.Block || q.WantSHA256 != resource.SHA256([]byte(lines)) {
			t.Errorf("asked for %+v", q)
		}
		facts := fact.NewSet(fact.Host{})
		facts.Put(q.Key(), fact.File{Exists: true, Type: "file", SHA256: "x", BlockAsWanted: true})
		change, err := b.Diff(facts)
		if err != nil || change.Action != resource.NoOp || change.Record.Files["/etc/hosts#hosts"] != resource.SHA256([]byte(b.Content)) {
			t.Errorf("%+v, %v", change, err)
		}
	}
	merged := fact.Merge(append(b.Queries(), fact.Query{Kind: fact.KindFile, Name: "/etc/hosts", Content: true}))
	if len(merged) != 1 || merged[0].Block || merged[0].WantSHA256 != "" || !merged[0].Content {
		t.Errorf("who wants the whole file gets %+v", merged)
	}
}
