package plan

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	auditvalidation "k8s.io/apiserver/pkg/apis/audit/validation"
	"sigs.k8s.io/yaml"

	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

// Where the API server's policies lie on masters, each mounted into its pod.
const (
	apiServerDirectory = "/etc/kubernetes/apiserver"
	auditPolicyFile    = apiServerDirectory + "/audit-policy.yaml"
	auditWebhookFile   = apiServerDirectory + "/audit-webhook.kubeconfig"
	authenticationFile = apiServerDirectory + "/authentication.yaml"
	admissionFile      = apiServerDirectory + "/admission.yaml"
)

// policies are files that an API server is started with besides its credentials.
type policies struct {
	flags  map[string]string
	files  []resource.Input
	writes []string // directories that it writes to
	after  []StepID // what must be there besides the files
}

func (p *policies) add(flag string, f resource.File) {
	p.flags[flag] = f.Path
	p.files = append(p.files, f)
}

// apiServerPolicies adds the files that say what an API server writes down, whom
// it lets in and what it admits.
func (c *compiler) apiServerPolicies(h inventory.Host) policies {
	p := policies{flags: map[string]string{}}
	c.audit(h, &p)
	c.anonymous(h, &p)
	c.admission(h, &p)
	return p
}

// audited reports whether API servers write an audit log.
func audited(inv *inventory.Inventory) bool { return inv.Audit != nil && inv.Audit.Enabled }

func (c *compiler) audit(h inventory.Host, p *policies) {
	if !audited(c.inventory) {
		return
	}
	a := c.inventory.Audit
	policy := c.templates.Render(auditPolicyFile[1:], nil)
	if a.PolicyFile != "" {
		policy = c.operatorFile(a.PolicyFile)
	}
	p.add("audit-policy-file", c.private(h.Name, auditPolicyFile, policy, false))
	if a.WebhookFile != "" {
		p.add("audit-webhook-config-file", c.private(h.Name, auditWebhookFile, c.operatorFile(a.WebhookFile), true))
	}
	p.flags["audit-log-path"] = a.LogPath
	p.flags["audit-log-maxage"] = strconv.Itoa(a.MaxAge)
	p.flags["audit-log-maxbackup"] = strconv.Itoa(a.MaxBackups)
	p.flags["audit-log-maxsize"] = strconv.Itoa(a.MaxSize)
	dir := path.Dir(a.LogPath)
	c.directory(h.Name, dir, 0o700)
	p.writes = append(p.writes, dir)
	p.after = append(p.after, step(h.Name, resource.Directory{Path: dir})...)
}

// private adds a file that root alone reads.
func (c *compiler) private(host, path string, content []byte, sensitive bool) resource.File {
	f := c.templates.file(path, content)
	f.Mode, f.Sensitive = 0o600, sensitive
	c.add(host, f, c.parents(host, path))
	return f
}

// anonymous closes all paths but those of health to requests without credentials,
// unless the user has authentication set up by flags, which API servers refuse
// beside the file that says so.
func (c *compiler) anonymous(h inventory.Host, p *policies) {
	if !limitsAnonymous(c.inventory) {
		return
	}
	content := c.templates.Render(authenticationFile[1:], map[string]any{
		"Version": authenticationVersion(c.inventory.Cluster.Version), "Paths": hardening.HealthPaths(),
	})
	p.add("authentication-config", c.private(h.Name, authenticationFile, content, false))
}

func limitsAnonymous(inv *inventory.Inventory) bool {
	if inv.Cluster.Hardening != inventory.HardeningCIS {
		return false
	}
	for flag := range inv.APIServer.Args {
		if flag == "anonymous-auth" || flag == "authentication-config" || strings.HasPrefix(flag, "oidc-") {
			return false
		}
	}
	return true
}

// authenticationVersion is the version of AuthenticationConfiguration by
// Kubernetes minor: v1 is known since 1.34
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/).
func authenticationVersion(kubernetes string) string {
	if inventory.CompareVersions(inventory.MinorOf(kubernetes), "1.34") < 0 {
		return "apiserver.config.k8s.io/v1beta1"
	}
	return "apiserver.config.k8s.io/v1"
}

// nodeRestriction is the admission plugin that confines kubelets to what is theirs.
const nodeRestriction = "NodeRestriction"

func (c *compiler) admission(h inventory.Host, p *policies) {
	a := c.inventory.Admission
	if len(a.Enable) > 0 {
		p.flags["enable-admission-plugins"] = strings.Join(a.Enable, ",")
	}
	if len(a.Disable) > 0 {
		p.flags["disable-admission-plugins"] = strings.Join(a.Disable, ",")
	}
	if a.ConfigFile == "" && a.PodSecurity == nil {
		return
	}
	content, err := admissionConfiguration(a, c.files[a.ConfigFile])
	if err != nil {
		return // reported by checkPolicies
	}
	p.add("admission-control-config-file", c.private(h.Name, admissionFile, content, false))
}

// withNodeRestriction adds the plugin to whatever the inventory enables: its own
// list would take the place of kinstall's.
func withNodeRestriction(args []setting) []setting {
	for i, arg := range args {
		if arg.Name != "enable-admission-plugins" {
			continue
		}
		plugins := strings.Split(arg.Value, ",")
		plugins = slices.DeleteFunc(append([]string{nodeRestriction}, plugins...), func(s string) bool { return s == "" })
		slices.Sort(plugins)
		args[i].Value = strings.Join(slices.Compact(plugins), ",")
	}
	return args
}

// admissionConfiguration is the user's with the defaults of Pod Security in it.
func admissionConfiguration(a inventory.Admission, own []byte) ([]byte, error) {
	config := apiserverv1.AdmissionConfiguration{}
	if a.ConfigFile != "" {
		if err := oneDocument(own); err != nil {
			return nil, err
		}
		if err := unmarshalStrict(own, &config); err != nil {
			return nil, err
		}
		if config.APIVersion != apiserverv1.SchemeGroupVersion.String() || config.Kind != "AdmissionConfiguration" {
			return nil, fmt.Errorf("found apiVersion %q, kind %q; expected %q, %q", config.APIVersion, config.Kind, apiserverv1.SchemeGroupVersion, "AdmissionConfiguration")
		}
	}
	config.APIVersion, config.Kind = apiserverv1.SchemeGroupVersion.String(), "AdmissionConfiguration"
	var names []string
	for _, plugin := range config.Plugins {
		switch {
		case plugin.Name == "":
			return nil, fmt.Errorf("a plugin has no name")
		case slices.Contains(names, plugin.Name):
			return nil, fmt.Errorf("plugin %s is configured twice", plugin.Name)
		case plugin.Path != "":
			return nil, fmt.Errorf("plugin %s has its configuration in %s, which is not on the hosts: write it below configuration", plugin.Name, plugin.Path)
		case plugin.Name == podSecurityPlugin && a.PodSecurity != nil:
			return nil, fmt.Errorf("plugin %s is configured there and by admission.pod_security: leave one of them out", plugin.Name)
		}
		names = append(names, plugin.Name)
	}
	if s := a.PodSecurity; s != nil {
		exempt := append([]string{"kube-system"}, s.ExemptNamespaces...)
		slices.Sort(exempt)
		defaults := map[string]any{
			"apiVersion": "pod-security.admission.config.k8s.io/v1",
			"kind":       "PodSecurityConfiguration",
			"defaults": map[string]string{
				"enforce": s.Enforce, "enforce-version": "latest",
				"audit": s.Audit, "audit-version": "latest",
				"warn": s.Warn, "warn-version": "latest",
			},
			"exemptions": map[string]any{"namespaces": slices.Compact(exempt)},
		}
		raw, err := yaml.Marshal(defaults)
		if err == nil {
			raw, err = yaml.YAMLToJSON(raw)
		}
		if err != nil {
			return nil, err
		}
		config.Plugins = append(config.Plugins, apiserverv1.AdmissionPluginConfiguration{Name: podSecurityPlugin, Configuration: &runtime.Unknown{Raw: raw}})
	}
	content, err := yaml.Marshal(config)
	return append([]byte(writtenBy), content...), err
}

const podSecurityPlugin = "PodSecurity"

// checkPolicies reads the files of the operator's machine that API servers would
// be started with, as they would read them.
func (c *compiler) checkPolicies() {
	inv := c.inventory
	if audited(inv) {
		if file := inv.Audit.PolicyFile; file != "" {
			if content, ok := c.files[file]; ok {
				if err := parseAuditPolicy(content); err != nil {
					c.fail("Audit policy not usable", "%s, the policy_file of the block audit: %s.", file, err)
				}
			}
		}
		if file := inv.Audit.WebhookFile; file != "" {
			if content, ok := c.files[file]; ok {
				if err := parseWebhook(content); err != nil {
					c.fail("Kubeconfig not usable", "%s, the webhook_file of the block audit: %s.", file, err)
				}
			}
		}
	}
	if content, ok := c.files[inv.Admission.ConfigFile]; ok || inv.Admission.PodSecurity != nil {
		if _, err := admissionConfiguration(inv.Admission, content); err != nil {
			c.fail("Admission configuration not usable", "%s, the config_file of the block admission: %s.", inv.Admission.ConfigFile, err)
		}
	}
}

// unmarshalStrict says what is wrong without how it was looked for.
func unmarshalStrict(content []byte, into any) error {
	err := yaml.UnmarshalStrict(content, into)
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, prefix := range []string{"error unmarshaling JSON: ", "while decoding JSON: ", "json: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return errors.New(text)
}

// parseAuditPolicy reads a policy as an API server does.
func parseAuditPolicy(content []byte) error {
	var policy auditv1.Policy
	if err := oneDocument(content); err != nil {
		return err
	}
	if err := unmarshalStrict(content, &policy); err != nil {
		return err
	}
	if policy.APIVersion != auditv1.SchemeGroupVersion.String() || policy.Kind != "Policy" {
		return fmt.Errorf("found apiVersion %q, kind %q; expected %q, %q", policy.APIVersion, policy.Kind, auditv1.SchemeGroupVersion, "Policy")
	}
	if len(policy.Rules) == 0 {
		return fmt.Errorf("it has no rules, and an API server refuses such a policy")
	}
	var internal audit.Policy
	if err := auditv1.Convert_v1_Policy_To_audit_Policy(&policy, &internal, nil); err != nil {
		return err
	}
	return auditvalidation.ValidatePolicy(&internal).ToAggregate()
}

// parseWebhook reads a kubeconfig that is mounted alone: nothing that it names by
// path is there.
func parseWebhook(content []byte) error {
	var config struct {
		Clusters []struct {
			Name    string
			Cluster struct {
				Server    string
				Authority string `json:"certificate-authority"`
			}
		}
		Users []struct {
			Name string
			User struct {
				Certificate string `json:"client-certificate"`
				Key         string `json:"client-key"`
				TokenFile   string `json:"tokenFile"`
				Exec        any
			}
		}
		CurrentContext string `json:"current-context"`
	}
	if err := oneDocument(content); err != nil {
		return err
	}
	if yaml.Unmarshal(content, &config) != nil {
		return fmt.Errorf("it is no kubeconfig") // the reader's words may hold what is secret in it
	}
	if len(config.Clusters) == 0 || config.CurrentContext == "" {
		return fmt.Errorf("it has no cluster or no current-context")
	}
	var named []string
	for _, cluster := range config.Clusters {
		if cluster.Cluster.Server == "" {
			return fmt.Errorf("cluster %q has no server", cluster.Name)
		}
		named = append(named, cluster.Cluster.Authority)
	}
	for _, user := range config.Users {
		named = append(named, user.User.Certificate, user.User.Key, user.User.TokenFile)
		if user.User.Exec != nil {
			return fmt.Errorf("credentials of user %q come from a program, which is not in the API server's image", user.Name)
		}
	}
	for _, file := range named {
		if file != "" {
			return fmt.Errorf("%s is not on the hosts: put its content in place of its name (certificate-authority-data and the like)", file)
		}
	}
	return nil
}

// parseAuthentication reads an AuthenticationConfiguration.
func parseAuthentication(content []byte) error {
	return strict[apiserverv1.AuthenticationConfiguration](content)
}

// parseAdmission reads an AdmissionConfiguration.
func parseAdmission(content []byte) error {
	return strict[apiserverv1.AdmissionConfiguration](content)
}
