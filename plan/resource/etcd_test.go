package resource

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

func TestEtcdKeys(t *testing.T) {
	const prefix = "/coreos.com/network/"
	wanted := EtcdKeys{Prefix: prefix, Keys: []EtcdKey{
		{Key: prefix + "config", Value: `{"Network":"10.1.0.0/16","SubnetLen":24}`},
		{Key: prefix + "subnets/10.1.1.0-24", Value: `{"PublicIP":"10.0.0.1","BackendType":"vxlan"}`, Fields: []string{"PublicIP"}},
	}}
	full := func() map[string]string {
		return map[string]string{
			prefix + "config":              `{"SubnetLen": 24, "Network": "10.1.0.0/16"}`,
			prefix + "subnets/10.1.1.0-24": `{"PublicIP":"10.0.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VtepMAC":"be:ef"}}`,
		}
	}
	with := func(key, value string) map[string]string {
		keys := full()
		if value == "" {
			delete(keys, prefix+key)
		} else {
			keys[prefix+key] = value
		}
		return keys
	}
	for _, tt := range []struct {
		name    string
		found   map[string]string // nil: not observed
		action  Action
		reasons []Reason
		fields  []Field
	}{
		{"as the program that uses them completed them", full(), NoOp, nil, nil},
		{"no etcd yet", nil, Deferred, []Reason{{Unknown, "etcd does not answer yet"}}, []Field{
			{Name: "config", After: wanted.Keys[0].Value}, {Name: "subnets/10.1.1.0-24", After: wanted.Keys[1].Value}}},
		{"nothing there", map[string]string{}, Create, nil, []Field{
			{Name: "config", After: wanted.Keys[0].Value}, {Name: "subnets/10.1.1.0-24", After: wanted.Keys[1].Value}}},
		{"one missing", with("subnets/10.1.1.0-24", ""), Update, []Reason{{Drift, "1 key is missing"}}, []Field{
			{Name: "subnets/10.1.1.0-24", After: wanted.Keys[1].Value}}},
		{"of another host", with("subnets/10.1.1.0-24", `{"PublicIP":"10.0.0.9"}`), Update, []Reason{{Drift, "1 key is not as planned"}}, []Field{
			{Name: "subnets/10.1.1.0-24", Before: `{"PublicIP":"10.0.0.9"}`, After: wanted.Keys[1].Value}}},
		{"a field more where all count", with("config", `{"Network":"10.1.0.0/16","SubnetLen":24,"SubnetMin":"10.1.4.0"}`), Update, []Reason{{Drift, "1 key is not as planned"}}, []Field{
			{Name: "config", Before: `{"Network":"10.1.0.0/16","SubnetLen":24,"SubnetMin":"10.1.4.0"}`, After: wanted.Keys[0].Value}}},
		{"no JSON", with("config", "x"), Update, []Reason{{Drift, "1 key is not as planned"}}, []Field{
			{Name: "config", Before: "x", After: wanted.Keys[0].Value}}},
		{"a stranger", with("subnets/10.1.7.0-24", "{}"), Update, []Reason{{Drift, "1 key is not in the plan"}}, []Field{
			{Name: "subnets/10.1.7.0-24", Before: "{}"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			facts := fact.NewSet(fact.Host{})
			if tt.found != nil {
				facts.Put(wanted.Queries()[0].Key(), fact.Etcd{Keys: tt.found})
			}
			change, err := wanted.Diff(facts)
			if err != nil {
				t.Fatal(err)
			}
			want := Change{Action: tt.action, Reasons: tt.reasons, Fields: tt.fields, Record: fact.Record{Digest: "written"}}
			if diff := cmp.Diff(want, change); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
		})
	}
}
