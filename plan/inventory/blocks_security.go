package inventory

// auditBlock is there by itself where the level of hardening wants an audit log.
func auditBlock() *block {
	return &block{
		name: "audit",
		doc:  "The API servers' audit log. Without this block there is one with `hardening = \"cis\"` (see cluster).",
		target: func(outer any, make bool) any {
			inv := outer.(*Inventory)
			if inv.Audit == nil {
				if !make {
					return nil
				}
				inv.Audit = &Audit{}
			}
			return inv.Audit
		},
		example: `audit {
  policy_file = "audit-policy.yaml"
  max_age     = 90
}`,
		attrs: []attr{
			{name: "enabled", kind: boolean(), fallback: `true`,
				field:   of(func(a *Audit) any { return &a.Enabled }),
				doc:     "`false`: no audit log.",
				example: `false`},
			{name: "policy_file", kind: filePath(), computed: "a policy that writes down who did what, leaves out the cluster's own chatter, and never holds a secret's content",
				field:   of(func(a *Audit) any { return &a.PolicyFile }),
				doc:     "File of this machine with the policy (audit.k8s.io/v1, one document).",
				example: `"audit-policy.yaml"`},
			{name: "log_path", kind: text("path on the hosts", logFile), fallback: `"/var/log/kubernetes/audit/audit.log"`,
				field:   of(func(a *Audit) any { return &a.LogPath }),
				doc:     "The log on each master. Its directory is open to root alone and for nothing else.",
				example: `"/var/log/kubernetes/audit/audit.log"`},
			{name: "max_age", kind: number(1, 3650), fallback: `30`,
				field:   of(func(a *Audit) any { return &a.MaxAge }),
				doc:     "How many days a file that is full is kept.",
				example: `90`},
			{name: "max_backups", kind: number(1, 1000), fallback: `10`,
				field:   of(func(a *Audit) any { return &a.MaxBackups }),
				doc:     "How many files that are full are kept.",
				example: `20`},
			{name: "max_size", kind: number(1, 10000), fallback: `100`,
				field:   of(func(a *Audit) any { return &a.MaxSize }),
				doc:     "Megabytes after which the next file is begun.",
				example: `200`},
			{name: "webhook_file", kind: filePath(),
				field:   of(func(a *Audit) any { return &a.WebhookFile }),
				doc:     "File of this machine, a kubeconfig that says where events are sent, too. What it names by path must be data in it instead.",
				example: `"audit-webhook.kubeconfig"`},
		},
	}
}

func admissionBlock() *block {
	return &block{
		name:   "admission",
		doc:    "What judges objects before the API servers store them. NodeRestriction and Kubernetes' own defaults are always on.",
		target: part(func(inv *Inventory) any { return &inv.Admission }),
		example: `admission {
  enable = ["AlwaysPullImages"]

  pod_security {
    enforce = "baseline"
  }
}`,
		attrs: []attr{
			{name: "enable", kind: list("names of plugins", admissionPlugin, false),
				field:   of(func(a *Admission) any { return &a.Enable }),
				doc:     "Admission plugins beside the defaults.",
				example: `["AlwaysPullImages"]`},
			{name: "disable", kind: list("names of plugins", dispensablePlugin, false),
				field:   of(func(a *Admission) any { return &a.Disable }),
				doc:     "Default plugins to leave out. NodeRestriction, ServiceAccount and NamespaceLifecycle are refused.",
				example: `["DefaultIngressClass"]`},
			{name: "config_file", kind: filePath(),
				field:   of(func(a *Admission) any { return &a.ConfigFile }),
				doc:     "File of this machine with an AdmissionConfiguration (apiserver.config.k8s.io/v1). Plugins have their configuration in it, not by path.",
				example: `"admission.yaml"`},
		},
		blocks: []*block{podSecurityBlock()},
	}
}

func podSecurityBlock() *block {
	standard := choice("privileged", "baseline", "restricted")
	return &block{
		name: "pod_security",
		doc:  "Pod Security Standards of namespaces that have no labels for them. kube-system is exempt: what runs a cluster needs the host.",
		target: func(outer any, make bool) any {
			admission := outer.(*Admission)
			if admission.PodSecurity == nil {
				if !make {
					return nil
				}
				admission.PodSecurity = &PodSecurity{}
			}
			return admission.PodSecurity
		},
		attrs: []attr{
			{name: "enforce", kind: standard, fallback: `"baseline"`,
				field:   of(func(p *PodSecurity) any { return &p.Enforce }),
				doc:     "Pods that don't keep to it are refused.",
				example: `"baseline"`},
			{name: "audit", kind: standard, fallback: `"restricted"`,
				field:   of(func(p *PodSecurity) any { return &p.Audit }),
				doc:     "Pods that don't keep to it are marked in the audit log.",
				example: `"restricted"`},
			{name: "warn", kind: standard, fallback: `"restricted"`,
				field:   of(func(p *PodSecurity) any { return &p.Warn }),
				doc:     "Whoever makes a pod that doesn't keep to it is warned.",
				example: `"restricted"`},
			{name: "exempt_namespaces", kind: list("namespaces", dnsLabel, false),
				field:   of(func(p *PodSecurity) any { return &p.ExemptNamespaces }),
				doc:     "Further namespaces that are not judged.",
				example: `["storage"]`},
		},
	}
}
