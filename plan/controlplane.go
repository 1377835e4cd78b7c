package plan

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/kinstall/kinstall/plan/hardening"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
)

const (
	apiServerPod  = "kube-apiserver"
	controllerPod = "kube-controller-manager"
	schedulerPod  = "kube-scheduler"

	// Where they say how they are, unless their users moved them.
	controllerPort = 10257
	schedulerPort  = 10259

	controllerConfig = "/etc/kubernetes/controller-manager.conf"
	schedulerConfig  = "/etc/kubernetes/scheduler.conf"
)

// controlPlane adds the API server, controller manager and scheduler of a
// master as static pods.
//
// The API servers' manifests wait for etcd, those of the other two for the API
// servers: each would otherwise end with an error, and the kubelet wait ever
// longer before it tries again. They talk to the API server of their own host,
// as kubeadm has them do: no load balancer's end stops a control plane. They wait
// for all API servers all the same, because their group asks how the others of
// their kind are, which are restarted when their API server goes away.
//
// A pod mounts exactly the files it reads, one by one, and is restarted when
// one of them changes. The API server mounts the PKI's directory, because it
// reads its certificates anew when they are replaced and needs no restart for
// them; the gate of its own certificate waits until it serves the new one.
func (c *compiler) controlPlane(h inventory.Host) {
	if !h.Has(inventory.RoleMaster) {
		return
	}
	inv := c.inventory
	own := c.server(h)
	var servers []StepID
	for _, m := range inv.With(inventory.RoleMaster) {
		servers = append(servers, step(Cluster, c.apiServerGate(m))...)
	}
	signing := c.apiAuthorityFiles()
	if c.signsRequests() {
		signing = append(signing, caKeyFile)
	}
	policies := c.apiServerPolicies(h)
	c.staticPod(h, staticPod{
		name:    apiServerPod,
		release: releaseAPIServer,
		args:    withNodeRestriction(settings(c.apiServerArgs(h), c.hardeningFlags(hardening.APIServer), c.featureGates(), policies.flags, inv.APIServer.Args)),
		files:   append(c.credentials(h, append(c.apiAuthorityFiles(), frontProxyCAFile, saKeyFile, saPublicFile, etcdCAFile)...), policies.files...),
		alone:   policies.files,
		writes:  policies.writes,
		reread:  c.credentials(h, APIServerCertificate, apiServerEtcdCert, apiServerNodeCert, frontProxyCert),
		address: h.Address.String(),
		// The probes have no credentials.
		anonymous: inv.APIServer.Args["anonymous-auth"] != "false",
		rollout:   c.apiServerRollout(h),
		after:     append(step(Cluster, c.etcdGate()), policies.after...),
	})
	c.staticPod(h, staticPod{
		name:    controllerPod,
		release: releaseControllerManager,
		args:    settings(c.controllerManagerArgs(h), c.hardeningFlags(hardening.ControllerManager), c.featureGates(), inv.ControllerManager.Args),
		files: append(c.credentials(h, append(signing, frontProxyCAFile, saKeyFile, controllerCert)...),
			c.kubeconfig(h, controllerConfig, own, userController, controllerCert)),
		address:   probeAddress(h, inv.ControllerManager.Args),
		anonymous: true,
		rollout: c.controllerRollout(h, controllerPod, func(on inventory.Host) string {
			return healthzURL(probeAddress(on, inv.ControllerManager.Args), controllerPort, "/healthz")
		}),
		after: servers,
	})
	c.staticPod(h, staticPod{
		name:    schedulerPod,
		release: releaseScheduler,
		args:    settings(c.schedulerArgs(h), c.hardeningFlags(hardening.Scheduler), c.featureGates(), inv.Scheduler.Args),
		files: append(c.credentials(h, caFile, schedulerCert),
			c.kubeconfig(h, schedulerConfig, own, userScheduler, schedulerCert)),
		address:   probeAddress(h, inv.Scheduler.Args),
		anonymous: true,
		rollout: c.controllerRollout(h, schedulerPod, func(on inventory.Host) string {
			return healthzURL(probeAddress(on, inv.Scheduler.Args), schedulerPort, "/livez")
		}),
		after: servers,
	})
}

// staticPod is what the manifests differ in.
type staticPod struct {
	name      string
	release   string
	args      []setting
	files     []resource.Input // what it reads when it starts
	reread    []resource.Input // what it reads anew whenever it changes
	alone     []resource.Input // of files, those outside the PKI's directory
	writes    []string         // directories that it writes to
	address   string           // where its probes ask
	anonymous bool             // whether they may ask without credentials
	rollout   Rollout
	after     []StepID
}

// mount is a file or directory of the host that a static pod sees at the same path.
type mount struct {
	Name, Path, Type string
	Writable         bool
}

func (c *compiler) staticPod(h inventory.Host, p staticPod) {
	image := c.image(p.release)
	manifest := resource.StaticPod{
		Name:   p.name,
		Node:   h.Name,
		Path:   ManifestDirectory + "/" + p.name + ".yaml",
		Inputs: append([]resource.Input{image}, p.files...),
	}
	manifest.Manifest = string(c.templates.Render(manifest.Path[1:], map[string]any{
		"Address":   p.address,
		"Anonymous": p.anonymous,
		"Args":      p.args,
		"Image":     image.Reference,
		"Inputs":    resource.Placeholder,
		"Mounts":    p.mounts(),
	}))
	// Names must resolve before a pod starts: it gets a copy of /etc/hosts.
	c.addStep(Step{Host: h.Name, Resource: manifest, Rollout: &p.rollout},
		inputSteps(h.Name, manifest.Inputs), inputSteps(h.Name, p.reread), step(h.Name, c.names), c.parents(h.Name, manifest.Path), p.after)
}

// mounts are the files themselves, keys beside their certificates, and the
// system's own authorities. A mounted file stays the one it was when another
// takes its place; what is to be read anew is mounted with its directory.
func (p staticPod) mounts() []mount {
	var all []mount
	files := p.files
	if len(p.reread) > 0 {
		all, files = []mount{{Name: "pki", Path: pkiDir, Type: "Directory"}}, p.alone
	}
	file := func(p string) {
		name := strings.NewReplacer("/", "-", ".", "-").Replace(strings.TrimPrefix(strings.TrimPrefix(p, pkiDir+"/"), path.Dir(p)+"/"))
		all = append(all, mount{Name: name, Path: p, Type: "File"})
	}
	for _, f := range files {
		switch f := f.(type) {
		case resource.File:
			file(f.Path)
		case resource.AuthorityFile:
			file(f.Path)
		case resource.Certificate:
			file(f.Path)
			file(f.KeyPath)
		}
	}
	all = append(all, mount{Name: "system-authorities", Path: "/etc/ssl/certs", Type: "DirectoryOrCreate"})
	for _, dir := range p.writes {
		all = append(all, mount{Name: "log", Path: dir, Type: "DirectoryOrCreate", Writable: true})
	}
	return all
}

// apiServerArgs are an API server's flags, as kubeadm sets them but for the
// kubelets' serving certificates, which are verified. Bootstrap tokens count only
// where kubelets join with them.
func (c *compiler) apiServerArgs(h inventory.Host) map[string]string {
	inv := c.inventory
	args := map[string]string{
		"advertise-address":                  h.Address.String(),
		"allow-privileged":                   "true",
		"authorization-mode":                 "Node,RBAC",
		"client-ca-file":                     c.clientCA(),
		"enable-admission-plugins":           "NodeRestriction",
		"etcd-cafile":                        etcdCAFile,
		"etcd-certfile":                      apiServerEtcdCert,
		"etcd-keyfile":                       keyFile(apiServerEtcdCert),
		"etcd-servers":                       c.etcdServers(),
		"kubelet-certificate-authority":      caFile,
		"kubelet-client-certificate":         apiServerNodeCert,
		"kubelet-client-key":                 keyFile(apiServerNodeCert),
		"kubelet-preferred-address-types":    "InternalIP,Hostname",
		"proxy-client-cert-file":             frontProxyCert,
		"proxy-client-key-file":              keyFile(frontProxyCert),
		"requestheader-allowed-names":        frontProxyName,
		"requestheader-client-ca-file":       frontProxyCAFile,
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"secure-port":                        strconv.Itoa(APIServerPort),
		"service-account-issuer":             "https://kubernetes.default.svc." + inv.Cluster.Domain,
		"service-account-key-file":           saPublicFile,
		"service-account-signing-key-file":   saKeyFile,
		"service-cluster-ip-range":           strings.Join(c.serviceNetworks(), ","),
		// A server that is told to end no longer listens and waits for its clients'
		// watches, which never end: for 30 s, until the kubelet kills it. Watchers
		// dial another one at once. In all minors that kinstall installs.
		"shutdown-watch-termination-grace-period": "2s",
		"tls-cert-file":        APIServerCertificate,
		"tls-private-key-file": keyFile(APIServerCertificate),
	}
	if len(inv.With(inventory.RoleMaster)) > 1 {
		// Whatever kind of load balancer there is: with another one, API servers need
		// no restart; and one of the user's own may ask them, too.
		args["shutdown-delay-duration"] = shutdownDelay(inv).String()
	}
	if inv.Kubelet.Certificates == inventory.CertificatesRotated {
		args["enable-bootstrap-token-auth"] = "true"
	}
	return args
}

// featureGates is the flag of the inventory's feature gates, if it names any.
func (c *compiler) featureGates() map[string]string {
	gates := c.inventory.Cluster.FeatureGates
	if len(gates) == 0 {
		return nil
	}
	var list []string
	for _, gate := range settings(gates) {
		list = append(list, gate.Name+"="+gate.Value)
	}
	return map[string]string{"feature-gates": strings.Join(list, ",")}
}

// withFeatureGates merges the inventory's feature gates over the configuration of a
// kubelet or kube-proxy, and the user's settings over them.
func (c *compiler) withFeatureGates(document []byte, user map[string]any) []byte {
	if len(c.inventory.Cluster.FeatureGates) > 0 {
		gates := map[string]any{}
		for name, value := range c.inventory.Cluster.FeatureGates {
			gates[name] = value == "true"
		}
		document = mergedYAML(document, map[string]any{"featureGates": gates})
	}
	return mergedYAML(document, user)
}

// serviceNetworks are those of all families, IPv4 first: a service has one
// address, of the first family, unless it asks for both.
func (c *compiler) serviceNetworks() []string {
	networks := []string{c.inventory.Cluster.ServiceCIDR.String()}
	if c.inventory.DualStack() {
		networks = append(networks, c.inventory.Cluster.ServiceCIDRv6.String())
	}
	return networks
}

// controllerManagerArgs name no networks: only the allocator of the nodes' pod
// networks would ask for them, which is off.
func (c *compiler) controllerManagerArgs(h inventory.Host) map[string]string {
	args := map[string]string{
		"allocate-node-cidrs":              "false", // the plan does
		"authentication-kubeconfig":        controllerConfig,
		"authorization-kubeconfig":         controllerConfig,
		"bind-address":                     loopback(h),
		"client-ca-file":                   c.clientCA(),
		"cluster-name":                     c.inventory.Cluster.Name,
		"kubeconfig":                       controllerConfig,
		"leader-elect":                     "true",
		"requestheader-client-ca-file":     frontProxyCAFile,
		"root-ca-file":                     caFile,
		"service-account-private-key-file": saKeyFile,
		"use-service-account-credentials":  "true",
	}
	if c.signsRequests() { // without, nobody in the cluster signs requests
		args["cluster-signing-cert-file"] = c.clientCA() // one certificate, it insists
		args["cluster-signing-key-file"] = caKeyFile
	}
	if c.inventory.Kubelet.Certificates == inventory.CertificatesRotated {
		// Tokens of an apply that died are deleted when they have expired.
		args["controllers"] = "*,tokencleaner"
	}
	return args
}

func (c *compiler) schedulerArgs(h inventory.Host) map[string]string {
	return map[string]string{
		"authentication-kubeconfig": schedulerConfig,
		"authorization-kubeconfig":  schedulerConfig,
		"bind-address":              loopback(h),
		"kubeconfig":                schedulerConfig,
		"leader-elect":              "true",
	}
}

// healthzURL is where a program of the control plane says whether it is well.
func healthzURL(address string, port int, path string) string {
	return "https://" + net.JoinHostPort(address, strconv.Itoa(port)) + path
}

// probeAddress is where the kubelet asks a program that listens on loopback
// unless its user wants it otherwise.
func probeAddress(h inventory.Host, args map[string]string) string {
	bind, err := netip.ParseAddr(args["bind-address"])
	switch {
	case err != nil:
		return loopback(h)
	case bind.IsUnspecified():
		return h.Address.String()
	default:
		return bind.String()
	}
}
