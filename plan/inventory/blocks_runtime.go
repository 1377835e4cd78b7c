package inventory

func runtimeBlock() *block {
	containerd, docker := []string{RuntimeContainerd}, []string{RuntimeDocker}
	return &block{
		name:   "runtime",
		doc:    "The container runtime of nodes and of hosts with the role container. Without this block: containerd.",
		target: part(func(inv *Inventory) any { return &inv.Runtime }),
		label: &label{name: "KIND", doc: "`containerd`: containerd from its own releases. `docker`: Docker Engine from the distribution's packages or its own releases; kubelets reach it through cri-dockerd. docs/runtimes.md tells more.",
			kind: choice(RuntimeKinds()...), field: of(func(r *Runtime) any { return &r.Kind })},
		example: `runtime "containerd" {
  version = "2.4.2"
  settings = {
    plugins = {
      "io.containerd.cri.v1.runtime" = { max_container_log_line_size = 32768 }
    }
  }

  proxy {
    https = "http://proxy.example.com:3128"
  }

  registry "docker.io" {
    mirrors = ["https://mirror.example.com"]
  }
}`,
		attrs: []attr{
			{name: "version", kind: text("version", atLeast("containerd", "2.0.0", "Its configuration has another form before.")),
				labels: containerd, fallback: quoted(defaultContainerd),
				field:   of(func(r *Runtime) any { return &r.Version }),
				doc:     "containerd's version, without a leading v.",
				example: quoted(defaultContainerd)},
			{name: "runc_version", kind: text("version", atLeast("runc", "1.1.0", "")), labels: containerd, fallback: quoted(defaultRunc),
				field:   of(func(r *Runtime) any { return &r.RuncVersion }),
				doc:     "runc's version, without a leading v.",
				example: quoted(defaultRunc)},
			{name: "version", kind: text("version", dockerVersion), labels: docker, computed: "the distribution's package",
				field:   of(func(r *Runtime) any { return &r.Version }),
				doc:     "Docker Engine's version, without a leading v, for the static binaries of its own releases in place of a package. No checksums of them are published: pin `docker` in artifacts.sha256, or use a mirror.",
				example: `"28.5.1"`},
			{name: "package", kind: text("package", packageName), labels: docker, computed: "`\"docker.io\"`, without version",
				field:   of(func(r *Runtime) any { return &r.Package }),
				doc:     "The distribution's package with Docker Engine and its service docker.service. A package from elsewhere (`docker-ce`) needs its apt source on the hosts.",
				example: `"docker.io"`},
			{name: "cri_dockerd_version", kind: text("version", atLeast("cri-dockerd", "0.3.0", "")), labels: docker, fallback: quoted(defaultCRIDockerd),
				field:   of(func(r *Runtime) any { return &r.CRIDockerdVersion }),
				doc:     "Version of cri-dockerd, by which kubelets reach Docker, without a leading v. Its project publishes no checksums: pin `cri-dockerd` in artifacts.sha256, or use a mirror.",
				example: quoted(defaultCRIDockerd)},
			{name: "cni_version", kind: text("version", atLeast("CNI plugins", "1.0.0", "")), fallback: quoted(defaultCNI),
				field:   of(func(r *Runtime) any { return &r.CNIVersion }),
				doc:     "Version of the CNI plugins, without a leading v.",
				example: quoted(defaultCNI)},
			{name: "sandbox_image", kind: text("image", imageReference), fallback: quoted(defaultSandbox),
				field:   of(func(r *Runtime) any { return &r.SandboxImage }),
				doc:     "Image of every pod's first container.",
				example: quoted(defaultSandbox)},
			{name: "cgroup_driver", kind: choice(CgroupSystemd, CgroupFS), computed: "kubelet.settings.cgroupDriver, else `\"systemd\"`",
				field:   of(func(r *Runtime) any { return &r.CgroupDriver }),
				doc:     "Who makes the containers' control groups, for the runtime and the kubelet alike.",
				example: quoted(CgroupFS)},
			{name: "log_max_size", kind: text("size", logSize), labels: docker, fallback: `"10m"`,
				field:   of(func(r *Runtime) any { return &r.LogMaxSize }),
				doc:     "Size of a container's log file after which the next one is begun: a number with k, m or g. Holds for containers made from then on.",
				example: `"50m"`},
			{name: "log_max_file", kind: number(1, 1000), labels: docker, fallback: "3",
				field:   of(func(r *Runtime) any { return &r.LogMaxFile }),
				doc:     "How many log files a container has at most.",
				example: `5`},
			{name: "live_restore", kind: boolean(), labels: docker, fallback: "true",
				field:   of(func(r *Runtime) any { return &r.LiveRestore }),
				doc:     "Keeps containers running while dockerd restarts. Swarm needs false.",
				example: `false`},
			{name: "settings", kind: settings("runtime's settings", anySettings),
				field:   of(func(r *Runtime) any { return &r.Settings }),
				doc:     "Merged over containerd's generated config.toml, tables as objects, or over Docker's generated daemon.json.",
				example: `{ debug = { level = "debug" } }`},
		},
		blocks: []*block{proxyBlock(), registryBlock()},
	}
}

func proxyBlock() *block {
	return &block{
		name: "proxy",
		doc:  "The proxy by which the runtime reaches registries. Pod and service networks, the cluster's domain and the endpoint are dialled directly in any case.",
		target: func(outer any, make bool) any {
			runtime := outer.(*Runtime)
			if runtime.Proxy == nil {
				if !make {
					return nil
				}
				runtime.Proxy = &Proxy{}
			}
			return runtime.Proxy
		},
		attrs: []attr{
			{name: "http", kind: text("URL", plainURL("http", "https")),
				field:   of(func(p *Proxy) any { return &p.HTTP }),
				doc:     "The proxy for http:// addresses.",
				example: `"http://proxy.example.com:3128"`},
			{name: "https", kind: text("URL", plainURL("http", "https")),
				field:   of(func(p *Proxy) any { return &p.HTTPS }),
				doc:     "The proxy for https:// addresses.",
				example: `"http://proxy.example.com:3128"`},
			{name: "no_proxy", kind: list("names and networks", noProxyEntry, false),
				field:   of(func(p *Proxy) any { return &p.NoProxy }),
				doc:     "What else is dialled directly: names, domains (`.example.com`), addresses and networks.",
				example: `[".example.com", "10.0.0.0/8"]`},
		},
	}
}

func registryBlock() *block {
	return &block{
		name: "registry",
		doc:  "A registry of images: where else its images are to be had, whom to trust, as whom to log in.",
		many: true,
		label: &label{name: "HOST", doc: "The registry as image references name it, with its port if they do: `docker.io`, `registry.example.com:5000`.",
			kind: text("registry", registryName), field: of(func(r *Registry) any { return &r.Name })},
		target: func(outer any, make bool) any {
			if !make {
				return nil
			}
			registry := &Registry{}
			runtime := outer.(*Runtime)
			runtime.Registries = append(runtime.Registries, registry)
			return registry
		},
		each: func(outer any) []any {
			var all []any
			for _, registry := range outer.(*Runtime).Registries {
				all = append(all, registry)
			}
			return all
		},
		attrs: []attr{
			{name: "mirrors", kind: list("URLs", plainURL("https", "http"), false),
				field:   of(func(r *Registry) any { return &r.Mirrors }),
				doc:     "Mirrors, asked in this order before the registry itself, without credentials. Docker has mirrors of `docker.io` only.",
				example: `["https://mirror.example.com"]`},
			{name: "ca_file", kind: filePath(), computed: "the hosts' own authorities",
				field:   of(func(r *Registry) any { return &r.CAFile }),
				doc:     "File of this machine with the authorities (PEM) that vouch for the registry.",
				example: `"registry-ca.pem"`},
			{name: "username", kind: text("user name", registryUser),
				field:   of(func(r *Registry) any { return &r.Username }),
				doc:     "Whom to log in as, with password_file.",
				example: `"puller"`},
			{name: "password_file", kind: filePath(),
				field:   of(func(r *Registry) any { return &r.PasswordFile }),
				doc:     "File of this machine with the password; a newline at its end does not count. On nodes the kubelet logs in (/var/lib/kubelet/config.json), on Docker hosts without Kubernetes root's `docker` does (/root/.docker/config.json); containerd without Kubernetes has nobody to.",
				example: `"secrets/registry-password"`},
		},
	}
}
