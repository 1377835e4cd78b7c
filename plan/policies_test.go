package plan

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	goodPolicy  = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"
	goodWebhook = "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: https://audit.example.com}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {token: hush}}]\n"
)

// withPolicies compiles one master with blocks, and files of the operator's machine
// by the name they have in the inventory.
func withPolicies(t *testing.T, blocks string, files map[string]string) (*Plan, string) {
	t.Helper()
	text, err := os.ReadFile("../inventories/single.hcl")
	if err != nil {
		t.Fatal(err)
	}
	inv := loadText(t, string(text)+blocks)
	contents := map[string][]byte{}
	for name, content := range files {
		contents["/inventories/"+name] = []byte(content)
	}
	p, diags := Compile(inv, ProposeLock(inv, inventory.Lock{}, digests(inv)), nil, noAuthorities{}, contents)
	if diags.HasErrors() {
		return nil, diags.Error()
	}
	return p, ""
}

// What an API server would refuse is found before anything is changed, with the
// name of the file.
func TestPolicyFiles(t *testing.T) {
	const policy = "audit {\n  policy_file = \"audit.yaml\"\n}\n"
	const webhook = "audit {\n  webhook_file = \"hook.yaml\"\n}\n"
	const admission = "admission {\n  config_file = \"admission.yaml\"\n}\n"
	const security = "admission {\n  config_file = \"admission.yaml\"\n  pod_security {}\n}\n"
	configured := func(plugins string) string {
		return "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n" + plugins
	}
	for _, tt := range []struct{ name, blocks, content, want string }{
		{"a policy", policy, goodPolicy, ""},
		{"another version", policy, strings.Replace(goodPolicy, "/v1", "/v1beta1", 1), `found apiVersion "audit.k8s.io/v1beta1"`},
		{"another kind", policy, strings.Replace(goodPolicy, "Policy", "Police", 1), `kind "Police"`},
		{"a misspelt field", policy, strings.Replace(goodPolicy, "level", "leval", 1), `: unknown field "leval"`},
		{"a level that there is none of", policy, strings.Replace(goodPolicy, "Metadata", "Metadatum", 1), `Unsupported value: "Metadatum"`},
		{"no rules", policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\n", "no rules"},
		{"two documents", policy, goodPolicy + "---\n" + goodPolicy, "a second YAML document"},
		{"no YAML", policy, "\t:", "audit.yaml"},
		{"nothing", policy, "", "audit.yaml"},

		{"a webhook", webhook, goodWebhook, ""},
		{"with a file that is not there", webhook, strings.Replace(goodWebhook, "token: hush", "client-key: /k", 1), "/k is not on the hosts"},
		{"with a program", webhook, strings.Replace(goodWebhook, "token: hush", "exec: {command: x}", 1), "come from a program"},
		{"without a server", webhook, strings.Replace(goodWebhook, "server: https://audit.example.com", "", 1), "has no server"},
		{"no kubeconfig", webhook, "hello", "hook.yaml"},

		{"an admission configuration", admission, configured("- {name: EventRateLimit, configuration: {kind: Configuration, apiVersion: eventratelimit.admission.k8s.io/v1alpha1}}\n"), ""},
		{"a path", admission, configured("- {name: EventRateLimit, path: limits.yaml}\n"), "has its configuration in limits.yaml"},
		{"twice", admission, configured("- name: A\n- name: A\n"), "configured twice"},
		{"of another kind", admission, goodPolicy, `: unknown field "rules"`},
		{"Pod Security twice", security, configured("- name: PodSecurity\n"), "leave one of them out"},
		{"Pod Security beside another", security, configured("- {name: EventRateLimit, configuration: {kind: Configuration}}\n"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"audit.yaml": tt.content, "hook.yaml": tt.content, "admission.yaml": tt.content}
			_, problem := withPolicies(t, tt.blocks, files)
			if (problem == "") != (tt.want == "") || !strings.Contains(problem, tt.want) || problem != "" && !strings.Contains(problem, ".yaml") {
				t.Errorf("got %q, want %q", problem, tt.want)
			}
			if strings.Contains(problem, "hush") {
				t.Error("a secret is in the message")
			}
		})
	}
}

// Files reach masters as they are, are mounted, and restart API servers.
func TestPoliciesAreDelivered(t *testing.T) {
	p, problem := withPolicies(t, `
audit {
  policy_file  = "audit.yaml"
  webhook_file = "hook.yaml"
  log_path     = "/srv/audit/api.log"
  max_age      = 90
  max_backups  = 7
  max_size     = 50
}

admission {
  enable  = ["AlwaysPullImages"]
  disable = ["DefaultIngressClass"]

  pod_security {
    enforce           = "restricted"
    exempt_namespaces = ["storage"]
  }
}
`, map[string]string{"audit.yaml": goodPolicy, "hook.yaml": goodWebhook})
	if problem != "" {
		t.Fatal(problem)
	}
	r := renderedOn(p, "solo")
	if r.text[auditPolicyFile] != goodPolicy || r.text[auditWebhookFile] != goodWebhook {
		t.Error("the files are not as they are on the operator's machine")
	}
	flags := r.seen(t).Flags["kube-apiserver"]
	for flag, want := range map[string]string{
		"audit-policy-file": auditPolicyFile, "audit-webhook-config-file": auditWebhookFile, "audit-log-path": "/srv/audit/api.log",
		"audit-log-maxage": "90", "audit-log-maxbackup": "7", "audit-log-maxsize": "50",
		"enable-admission-plugins": "AlwaysPullImages,NodeRestriction", "disable-admission-plugins": "DefaultIngressClass",
		"admission-control-config-file": admissionFile,
	} {
		if flags[flag] != want {
			t.Errorf("%s is %q, want %q", flag, flags[flag], want)
		}
	}
	for _, want := range []string{"enforce: restricted", "audit: restricted", "- kube-system", "- storage", "name: PodSecurity"} {
		if !strings.Contains(r.text[admissionFile], want) {
			t.Errorf("the admission configuration lacks %q:\n%s", want, r.text[admissionFile])
		}
	}
	inputs := map[string]bool{}
	for _, s := range p.Steps {
		switch s := s.Resource.(type) {
		case resource.StaticPod:
			for _, input := range s.Inputs {
				inputs[input.ID().Name()] = inputs[input.ID().Name()] || s.Name == apiServerPod
			}
		case resource.File:
			if s.Path == auditWebhookFile && !s.Sensitive {
				t.Error("the kubeconfig of the webhook may be shown")
			}
			if strings.HasPrefix(s.Path, apiServerDirectory) && s.Own().Mode != 0o600 {
				t.Errorf("%s has mode %04o", s.Path, s.Own().Mode)
			}
		case resource.Directory:
			if s.Path == "/srv/audit" && s.Own().Mode != 0o700 {
				t.Errorf("the log's directory has mode %04o", s.Own().Mode)
			}
		}
	}
	manifest := r.text[ManifestDirectory+"/kube-apiserver.yaml"]
	for _, file := range []string{auditPolicyFile, auditWebhookFile, authenticationFile, admissionFile} {
		if !inputs[file] || !strings.Contains(manifest, `mountPath: "`+file+`"`) {
			t.Errorf("%s is no input, or not mounted", file)
		}
	}
	if !strings.Contains(manifest, "mountPath: \"/srv/audit\"\n  volumes:") {
		t.Error("the log's directory is not mounted to be written to")
	}
}

// Without the log there is nothing of it.
func TestNoAuditLog(t *testing.T) {
	p, problem := withPolicies(t, "audit {\n  enabled = false\n  policy_file = \"missing.yaml\"\n}\n", nil)
	if problem != "" {
		t.Fatal(problem)
	}
	r := renderedOn(p, "solo")
	if text := r.text[ManifestDirectory+"/kube-apiserver.yaml"]; strings.Contains(text, "audit") {
		t.Error("flags of the audit log are set")
	}
}

// Feature gates reach every program, and those of a component's own settings win.
func TestFeatureGates(t *testing.T) {
	text, err := os.ReadFile("../inventories/single.hcl")
	if err != nil {
		t.Fatal(err)
	}
	p := compile(t, loadText(t, strings.Replace(string(text), "version = \"1.36.3\"", "version = \"1.36.3\"\n  feature_gates = { AllBeta = false, AllAlpha = true }", 1)+
		"kubelet {\n  settings = { featureGates = { AllBeta = true } }\n}\n"))
	seen := renderedOn(p, "solo").seen(t)
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if got := seen.Flags[program]["feature-gates"]; got != "AllAlpha=true,AllBeta=false" {
			t.Errorf("%s: %q", program, got)
		}
	}
	for name, config := range map[string]map[string]any{"map[AllAlpha:true AllBeta:true]": seen.Kubelet, "map[AllAlpha:true AllBeta:false]": seen.Proxy} {
		if got := fmt.Sprint(config["featureGates"]); got != name {
			t.Errorf("feature gates are %s, want %s", got, name)
		}
	}
}
