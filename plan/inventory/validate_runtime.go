package inventory

import (
	"slices"
	"strings"
)

// standalone says that hosts run containers and nothing else: there is no
// Kubernetes, and nobody asked for it. Beside them there is etcd at most, for
// the network.
func (r *rules) standalone() bool {
	return r.rolesKnown() && r.inv.LoadBalancer == nil && len(r.with(RoleContainer)) > 0 &&
		!slices.ContainsFunc(r.hosts, func(h *hostDecl) bool {
			return len(h.Roles) == 0 || slices.ContainsFunc(h.Roles, func(role string) bool {
				return role != RoleContainer && (role != RoleEtcd || r.inv.Network.Kind != NetworkFlannel)
			})
		})
}

// flannelInEtcd says that flannel needs etcd.
func (r *rules) flannelInEtcd() bool {
	n := &r.inv.Network
	return r.good(&n.Kind, &n.Store) && n.Kind == NetworkFlannel && n.Store == StoreEtcd
}

// kubernetes reports what is missing for it; and hosts without it must have a
// network that does without it: flannel, if it keeps its subnets elsewhere.
func (r *rules) kubernetes() {
	if !r.standalone() {
		r.report(r.forKubernetes...)
	}
	n := &r.inv.Network
	if !r.good(&n.Kind, &n.Store) || n.Kind != NetworkFlannel || n.Store != StoreKubernetes {
		return
	}
	for _, h := range r.hosts {
		if r.good(&h.Roles) && h.has(RoleContainer) {
			r.report(r.about(advise(roleConflict.at(r.of(h, &h.Roles), "%s has the role \"container\"; the network %q with store = %q reaches nodes of Kubernetes only.", h.called(), n.Kind, n.Store),
				"Set store = %q, or use network %q, %q or %q.", StoreEtcd, NetworkRoutes, NetworkBird, NetworkOpenVSwitch), &h.Roles))
		}
	}
}

// runtime holds the settings, cgroup driver and registries to the runtime that
// was chosen.
func (r *rules) runtime() {
	rt := &r.inv.Runtime
	if !r.good(&rt.Kind) {
		return
	}
	if r.good(&rt.Settings) {
		for _, f := range checkRuntime(rt.Kind, rt.Settings) {
			diag := f.mistake.at(r.subject(&rt.Settings, rt, f.path...), "%s", f.detail)
			if f.hint != "" {
				diag = advise(diag, "%s", f.hint)
			}
			r.report(diag)
		}
		r.separateDirectories()
	}
	if rt.Kind == RuntimeDocker && r.isSet(&rt.Version) && r.isSet(&rt.Package) && r.good(&rt.Version, &rt.Package) {
		r.report(advise(conflictingAttributes.at(r.subject(&rt.Package, rt), "Docker comes from the package %q or from its own release, of the version at %s.", rt.Package, r.place(&rt.Version)),
			"Keep one of the two."))
	}
	if rt.Kind == RuntimeDocker && r.isSet(&rt.Version) && r.good(&rt.Version, &rt.CRIDockerdVersion) && slices.ContainsFunc(r.hosts, (*hostDecl).isNode) &&
		compareVersions(rt.Version, rt.DockerNeeded()) < 0 {
		r.report(advise(unsupportedVersion.at(r.subject(&rt.Version, rt), "cri-dockerd %s%s, by which kubelets reach Docker, needs Docker Engine %s or newer.", rt.CRIDockerdVersion, r.elsewhere(&rt.CRIDockerdVersion), rt.DockerNeeded()),
			"Choose a newer version, or cri_dockerd_version = %q.", lastForDocker20))
	}
	settings := r.inv.Kubelet.Settings
	if said, ok := settings["cgroupDriver"].(string); ok && r.isSet(&rt.CgroupDriver) && r.good(&rt.CgroupDriver) && said != rt.CgroupDriver {
		r.report(cgroupDrivers.at(r.subject(&r.inv.Kubelet.Settings, &r.inv.Kubelet, "cgroupDriver"), "The kubelet would have %q, the runtime %q%s.",
			said, rt.CgroupDriver, r.elsewhere(&rt.CgroupDriver)))
	}
	if p := rt.Proxy; p != nil && r.good(&p.HTTP, &p.HTTPS) && p.HTTP == "" && p.HTTPS == "" {
		r.report(missingAttribute.at(r.subject(p, p), "The block proxy names no proxy."))
	}
	seen := map[string]*Registry{}
	for _, registry := range rt.Registries {
		r.registry(rt.Kind, registry, seen)
	}
}

// separateDirectories keeps etcd's data and the runtime's apart: each program
// takes its directory for its own.
func (r *rules) separateDirectories() {
	rt, etcd := &r.inv.Runtime, &r.inv.Etcd
	if !r.good(&etcd.DataDir) {
		return
	}
	for _, key := range []string{"root", "data-root"} {
		dir, ok := rt.Settings[key].(string)
		if ok && (inTree(dir, etcd.DataDir) || inTree(etcd.DataDir, dir)) {
			r.report(advise(invalidPath.at(r.subject(&rt.Settings, rt, key), "%s is not a directory of the runtime's own: etcd.data_dir is %s%s.", quote(dir), quote(etcd.DataDir), r.elsewhere(&etcd.DataDir)),
				"Use two directories, neither inside the other."))
		}
	}
}

func (r *rules) registry(runtime string, registry *Registry, seen map[string]*Registry) {
	if r.good(&registry.Name) {
		if other := seen[registry.Name]; other != nil {
			r.report(duplicateBlock.at(r.subject(&registry.Name, registry), "The registry %q is described at %s already.", registry.Name, r.place(&other.Name)))
			return
		}
		seen[registry.Name] = registry
	}
	if r.good(&registry.Username, &registry.PasswordFile) && (registry.Username == "") != (registry.PasswordFile == "") {
		r.report(advise(invalidRegistry.at(r.subject(registry, registry), "To log in to %q takes a user name and a password.", registry.Name),
			"Set both username and password_file."))
	}
	if runtime != RuntimeDocker || !r.good(&registry.Name, &registry.Mirrors) {
		return
	}
	if len(registry.Mirrors) > 0 && registry.Name != DockerHub {
		r.report(advise(invalidRegistry.at(r.subject(&registry.Mirrors, registry), "Docker has mirrors of %q only, not of %q.", DockerHub, registry.Name),
			"Name the mirror in image references, or use runtime \"containerd\"."))
		return
	}
	for i, mirror := range registry.Mirrors {
		if _, host, _ := strings.Cut(mirror, "://"); strings.Contains(strings.TrimRight(host, "/"), "/") {
			r.report(advise(invalidRegistry.at(r.subject(&registry.Mirrors, registry, i), "Docker takes mirrors without a path, and %q has one.", mirror),
				"Use a mirror with a host name of its own."))
		}
	}
}
