package inventory

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// A mistake is one class of things that can be wrong with an inventory. Every
// diagnostic of this package belongs to one; the reference lists them all.
type mistake int

const (
	fileUnreadable mistake = iota
	fileTooLarge
	nestedTooDeep
	tooMuch
	invalidFormat
	tooMany
	unknownBlock
	unknownAttribute
	missingBlock
	missingAttribute
	wrongLabels
	duplicateBlock
	conflictingAttributes
	foreignAttribute
	wrongType
	outOfRange
	unknownChoice
	repeatedElement
	invalidName
	invalidText
	invalidAddress
	invalidCIDR
	invalidEndpoint
	invalidDuration
	invalidBatch
	invalidVersion
	unsupportedVersion
	invalidPath
	invalidSource
	invalidUser
	invalidFingerprint
	misplacedFingerprint
	invalidDigest
	invalidSysctl
	invalidLabel
	reservedLabel
	invalidTaint
	invalidArgument
	ownedArgument
	unknownSetting
	invalidSetting
	ownedSetting
	unknownReference
	unknownFunction
	localCycle
	duplicateDeclaration
	invalidVariable
	missingVariable
	undeclaredVariable
	invalidVariableValue
	variableRefused
	invalidGroup
	noHosts
	duplicateName
	duplicateAddress
	mixedFamilies
	partialDualStack
	roleConflict
	idleHost
	stateOfNoNode
	noEtcd
	noMaster
	etcdUnreachable
	evenEtcd
	manyEtcd
	networkOverlap
	networkSize
	networkFamily
	podCIDRTooSmall
	invalidPodSubnet
	tunnelNetwork
	unknownHost
	portConflict
	invalidVirtualAddress
	invalidListener
	missingEndpoint
	uncoveredEndpoint
	unresolvedEndpoint
	endpointMismatch
	endpointBypass
	renewWindow
	cgroupDrivers
	invalidRegistry
	invalidSigner
	invalidLock
	mistakeCount
)

// explanation is what the reference says of a mistake.
type explanation struct {
	severity hcl.DiagnosticSeverity
	summary  string
	meaning  string
	hint     string // the general advice; the place where it happens may know better
}

// explain returns the row of a mistake. The array is indexed by the constants,
// so that the compiler sees to its size and a test to its completeness.
func (m mistake) explain() explanation {
	table := &mistakeTable
	return table[m]
}

// at makes a diagnostic of this class. The detail says what was found and what
// was expected instead; subject may be nil when there is no source to point at.
func (m mistake) at(subject *hcl.Range, format string, args ...any) *hcl.Diagnostic {
	e := m.explain()
	return &hcl.Diagnostic{
		Severity: e.severity,
		Summary:  e.summary,
		Detail:   fmt.Sprintf(format, args...),
		Subject:  subject,
		Extra:    &Advice{Hint: e.hint},
	}
}

// Advice is the Extra of this package's diagnostics: what the user can do,
// kept apart from what is wrong.
type Advice struct {
	Hint string
	// HideSource says that the source line may hold a secret.
	HideSource bool
	// MoreErrors and MoreWarnings are the numbers of diagnostics that this one
	// stands for: they are not shown.
	MoreErrors, MoreWarnings int
}

// advise replaces the general advice by one that knows the case.
func advise(diag *hcl.Diagnostic, format string, args ...any) *hcl.Diagnostic {
	hidden := hidesSource(diag)
	diag.Extra = &Advice{Hint: fmt.Sprintf(format, args...), HideSource: hidden}
	return diag
}

// Hint returns the advice that goes with a diagnostic, "" when there is none.
func Hint(diag *hcl.Diagnostic) string {
	if advice, ok := diag.Extra.(*Advice); ok && advice != nil {
		return advice.Hint
	}
	return ""
}

// Count returns how many errors and warnings there are, those included that are not
// shown.
func Count(diags hcl.Diagnostics) (errors, warnings int) {
	for _, diag := range diags {
		switch advice, ok := diag.Extra.(*Advice); {
		case ok && advice != nil && advice.MoreErrors+advice.MoreWarnings > 0:
			errors, warnings = errors+advice.MoreErrors, warnings+advice.MoreWarnings
		case diag.Severity == hcl.DiagWarning:
			warnings++
		default:
			errors++
		}
	}
	return errors, warnings
}

func hidesSource(diag *hcl.Diagnostic) bool {
	advice, ok := diag.Extra.(*Advice)
	return ok && advice != nil && advice.HideSource
}

// mistakeTable is read-only.
var mistakeTable = [mistakeCount]explanation{
	fileUnreadable: {hcl.DiagError, "File not readable",
		"The inventory, its lock file, a variables file or a file named in file() could not be read.",
		"Check the path and the permissions."},
	fileTooLarge: {hcl.DiagError, "File too large",
		"A file has more than 16 MiB. An inventory of thousands of hosts is far smaller.",
		"Describe large inventories with host groups (count, for_each)."},
	nestedTooDeep: {hcl.DiagError, "Nested too deep",
		"Brackets, braces or templates are nested more than 100 deep.",
		"Look for an unclosed bracket."},
	tooMuch: {hcl.DiagError, "Too much to evaluate",
		"An expression makes more than 16 MiB or a list of more than 16,384 elements, or all expressions together make too much.",
		"Large inventories do with host groups (count, for_each); read long lists from a file."},
	invalidFormat: {hcl.DiagError, "Not an HCL file",
		"The file is not text in UTF-8, or it is written in another language.",
		"`kinstall init` writes an inventory to start from."},
	tooMany: {hcl.DiagError, "Further mistakes",
		"More than 50 mistakes were found; the others are counted.",
		"Mend the first ones; many of the others often follow from them."},
	unknownBlock: {hcl.DiagError, "Unknown block",
		"A block of this type does not exist at this place.",
		"See docs/inventory.md for all blocks."},
	unknownAttribute: {hcl.DiagError, "Unknown attribute",
		"An attribute of this name does not exist in this block.",
		"See docs/inventory.md for all attributes."},
	missingBlock: {hcl.DiagError, "Missing block",
		"A block without which there is no cluster is not there.",
		"`kinstall init` writes an inventory to start from."},
	missingAttribute: {hcl.DiagError, "Missing attribute",
		"An attribute that has no default is not set.",
		"Add it to the block."},
	wrongLabels: {hcl.DiagError, "Wrong block labels",
		"The block has too few or too many quoted names after its type.",
		"See docs/inventory.md for the form of each block."},
	duplicateBlock: {hcl.DiagError, "Duplicate block",
		"A block that may stand once stands twice.",
		"Merge the two blocks."},
	conflictingAttributes: {hcl.DiagError, "Conflicting attributes",
		"Two attributes that exclude each other are both set.",
		"Keep one of them."},
	foreignAttribute: {hcl.DiagError, "Attribute of another kind",
		"The attribute belongs to blocks of this type with another label.",
		"Remove it, or change the block's label."},
	wrongType: {hcl.DiagError, "Wrong type",
		"The value has another type than the attribute.",
		"See docs/inventory.md for the type of each attribute."},
	outOfRange: {hcl.DiagError, "Value out of range",
		"A number lies outside of what makes sense.",
		"Choose a value inside the range."},
	unknownChoice: {hcl.DiagError, "Unknown value",
		"The attribute or label takes one of a few words, and this is none of them.",
		"Choose one of the words listed."},
	repeatedElement: {hcl.DiagError, "Repeated element",
		"A list names the same thing twice.",
		"Remove one of them."},
	invalidName: {hcl.DiagError, "Invalid name",
		"A name is not one that Kubernetes and DNS accept (RFC 1123): lower-case letters, digits and hyphens, beginning and ending with a letter or digit, 63 characters at most.",
		"Use lower-case letters, digits and hyphens."},
	invalidText: {hcl.DiagError, "Invalid value",
		"A value has characters or a form that its attribute does not allow.",
		"See docs/inventory.md for what the attribute takes."},
	invalidAddress: {hcl.DiagError, "Invalid address",
		"An address is not an IP address (or, where names are allowed, a DNS name) that other machines can reach.",
		"Write the address by which the other machines reach it, like \"10.27.53.32\"."},
	invalidCIDR: {hcl.DiagError, "Invalid network",
		"A network is not written as ADDRESS/LENGTH, or its address has bits set beyond the length.",
		"Write it like \"10.244.0.0/16\"."},
	invalidEndpoint: {hcl.DiagError, "Invalid endpoint",
		"The endpoint is not HOST:PORT.",
		"Write it like \"api.example.com:8443\", \"10.0.0.10:6443\" or \"[fd00::10]:6443\"."},
	invalidDuration: {hcl.DiagError, "Invalid duration",
		"A duration is not a positive number with a unit.",
		"Write it like \"10s\", \"5m\" or \"8760h\"; there is no unit for days."},
	invalidBatch: {hcl.DiagError, "Invalid batch",
		"How many hosts are changed at a time is neither a number nor a share.",
		"Write it like \"3\" or \"10%\"."},
	invalidVersion: {hcl.DiagError, "Invalid version",
		"A version is not three numbers with dots.",
		"Write it like \"1.36.3\", in quotes and without a leading v."},
	unsupportedVersion: {hcl.DiagError, "Unsupported version",
		"This release of kinstall has not been tried with that version, or the versions don't go together.",
		"See the table of versions in docs/inventory.md."},
	invalidPath: {hcl.DiagError, "Invalid path",
		"A path is empty, has control characters, or, when it is a path on the hosts, is not absolute and clean.",
		"Paths on the hosts are absolute; paths on this machine may be absolute, relative to the inventory, or begin with ~/."},
	invalidSource: {hcl.DiagError, "Invalid artifact source",
		"The source of artifacts is neither a directory, a file:// URL nor an https:// URL.",
		"Write a path, \"file:///path\" or \"https://mirror.example.com\"."},
	invalidUser: {hcl.DiagError, "Invalid user name",
		"A login name has characters that no system accepts.",
		"Write the login name alone, like \"debian\"."},
	invalidFingerprint: {hcl.DiagError, "Invalid fingerprint",
		"A host key's fingerprint is not in OpenSSH's SHA256 form.",
		"`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host prints it."},
	misplacedFingerprint: {hcl.DiagError, "Fingerprint for all hosts",
		"A fingerprint belongs to one host key, and stands in the ssh block that all hosts share.",
		"Move it into an ssh block inside that host's block, or use known_hosts."},
	invalidDigest: {hcl.DiagError, "Invalid digest",
		"A digest is not the 64 hexadecimal digits of a SHA-256.",
		"`sha256sum FILE` prints it."},
	invalidSysctl: {hcl.DiagError, "Invalid sysctl",
		"A kernel setting's name is not one, or its value has control characters.",
		"Write it like \"net.core.somaxconn\" = \"4096\"."},
	invalidLabel: {hcl.DiagError, "Invalid label",
		"A node label's key or value is not one that Kubernetes accepts.",
		"Keys are [PREFIX/]NAME, values at most 63 letters, digits, '-', '_' and '.'."},
	reservedLabel: {hcl.DiagError, "Reserved label",
		"The label is set by the kubelet itself.",
		"Remove it, or use a name of your own."},
	invalidTaint: {hcl.DiagError, "Invalid taint",
		"A taint is not KEY[=VALUE]:EFFECT as Kubernetes accepts it.",
		"Write it like \"dedicated=db:NoSchedule\"; effects are NoSchedule, PreferNoSchedule and NoExecute."},
	invalidArgument: {hcl.DiagError, "Invalid argument",
		"A command line flag's name or value has a form that no component accepts.",
		"Write the flag's name without dashes in front, like \"audit-log-maxage\" = \"30\"."},
	ownedArgument: {hcl.DiagError, "Argument set by kinstall",
		"The flag would break what kinstall promises, or says again what the inventory says elsewhere.",
		"Remove it, and use the attribute named in the message."},
	unknownSetting: {hcl.DiagError, "Unknown setting",
		"The component's configuration has no such field (Kubernetes' own types are asked).",
		"Mind upper and lower case."},
	invalidSetting: {hcl.DiagError, "Invalid setting",
		"A setting's value has another type than the field in the component's configuration.",
		"See the component's configuration reference in Kubernetes' documentation."},
	ownedSetting: {hcl.DiagError, "Setting made by kinstall",
		"The setting would break what kinstall promises, or says again what the inventory says elsewhere.",
		"Remove it, and use the attribute named in the message."},
	unknownReference: {hcl.DiagError, "Unknown reference",
		"An expression refers to something that does not exist: it may use var.NAME, local.NAME and, in host groups, count.index, each.key and each.value.",
		"Text needs quotes."},
	unknownFunction: {hcl.DiagError, "Unknown function",
		"An expression calls a function that does not exist.",
		"See docs/inventory.md for all functions."},
	localCycle: {hcl.DiagError, "Locals in a circle",
		"Local values refer to each other in a circle.",
		"Break the circle."},
	duplicateDeclaration: {hcl.DiagError, "Duplicate declaration",
		"A variable or local value is declared twice.",
		"Remove or rename one of them."},
	invalidVariable: {hcl.DiagError, "Invalid variable",
		"A variable block has a type, default or validation that does not work.",
		"See docs/inventory.md for an example."},
	missingVariable: {hcl.DiagError, "Variable not set",
		"A variable has no default and was given no value.",
		"Give it a value."},
	undeclaredVariable: {hcl.DiagError, "Undeclared variable",
		"A value was given for a variable that the inventory does not declare.",
		"Declare it with a variable block, or remove the value."},
	invalidVariableValue: {hcl.DiagError, "Invalid variable value",
		"The value given for a variable is not of its type.",
		"Lists and maps are given in HCL's syntax: -var 'names=[\"a\", \"b\"]'."},
	variableRefused: {hcl.DiagError, "Variable value refused",
		"A variable's own validation block says no.",
		"Give a value that meets the condition."},
	invalidGroup: {hcl.DiagError, "Invalid host group",
		"count is not a number from 0 to 10000, or for_each not a set, list or map of names.",
		"Write count = 3 or for_each = toset([\"a\", \"b\"])."},
	noHosts: {hcl.DiagError, "No hosts",
		"The inventory has no host.",
		"Add host blocks; `kinstall init` shows how."},
	duplicateName: {hcl.DiagError, "Duplicate host name",
		"Two hosts have the same name.",
		"Rename one of them."},
	duplicateAddress: {hcl.DiagError, "Duplicate address",
		"Two hosts have the same address.",
		"Give each host its own address."},
	mixedFamilies: {hcl.DiagError, "Mixed address families",
		"Hosts, pods and services must be all IPv4 or all IPv6; in a dual-stack cluster IPv6 has attributes of its own.",
		"Use one family throughout."},
	partialDualStack: {hcl.DiagError, "Incomplete dual-stack",
		"Some of what makes a cluster dual-stack is set, and some is not.",
		"Set pod_cidr_v6, service_cidr_v6 and the address_v6 of every host that runs containers, or none of them."},
	roleConflict: {hcl.DiagError, "Conflicting roles",
		"A host is both master and worker, or a node and a host without Kubernetes; a master runs a kubelet anyway, and a kubelet a runtime.",
		"Remove \"worker\"; to let pods run on a master, set taints = []."},
	idleHost: {hcl.DiagError, "Host without a role",
		"A host has no role and carries no load balancer.",
		"Give it roles = [\"worker\"], or name it in load_balancer.hosts."},
	stateOfNoNode: {hcl.DiagError, "State of a host that is no node",
		"A host that runs no kubelet is cordoned or drained.",
		"Leave state out: no pods of Kubernetes run on the host."},
	noEtcd: {hcl.DiagError, "No etcd member",
		"No host has the role etcd, so that API servers have nowhere to keep their objects, or flannel its subnets.",
		"Give one, three or five hosts the role \"etcd\"."},
	noMaster: {hcl.DiagError, "No master",
		"No host has the role master.",
		"Give one or more hosts the role \"master\"."},
	etcdUnreachable: {hcl.DiagError, "Master without etcd",
		"A master can reach no etcd member: none has an address of its family.",
		"Give etcd members and masters addresses of one family."},
	evenEtcd: {hcl.DiagError, "Even number of etcd members",
		"An even number of members survives no more failures than one less, and has one more machine that can fail.",
		"Use one, three or five members."},
	manyEtcd: {hcl.DiagWarning, "Many etcd members",
		"More than seven members make every write slower and add nothing to safety.",
		"Use three or five members."},
	networkOverlap: {hcl.DiagError, "Overlapping networks",
		"Pods, services and hosts need address ranges that do not overlap.",
		"Choose another range for one of them."},
	networkSize: {hcl.DiagError, "Unsuitable network size",
		"A network is larger or smaller than Kubernetes can handle.",
		"Choose another prefix length."},
	networkFamily: {hcl.DiagError, "Unsupported pod network",
		"The chosen network or runtime can't carry pods of that address family.",
		"Choose an IPv4 pod_cidr, or network \"external\"."},
	podCIDRTooSmall: {hcl.DiagError, "Pod network too small",
		"pod_cidr does not have a subnet for every node.",
		"Enlarge pod_cidr or raise pod_subnet_size."},
	invalidPodSubnet: {hcl.DiagError, "Invalid pod subnet",
		"A host's fixed pod_subnet does not fit the pod network.",
		"Choose a subnet of pod_cidr with pod_subnet_size bits, or leave it out and let kinstall allocate."},
	tunnelNetwork: {hcl.DiagError, "Unsuitable tunnel address",
		"The userspace datapath of Open vSwitch sends tunnels through an interface of its own: their addresses lie in one network, and no host's address lies in it.",
		"Give every host a tunnel_address in a network of its own, like \"10.92.0.11/24\"."},
	unknownHost: {hcl.DiagError, "Unknown host",
		"A host is named that has no host block.",
		"Name hosts by their block's label; members of groups are called GROUP-0, GROUP-1 and so on."},
	portConflict: {hcl.DiagError, "Port taken",
		"The load balancer would listen on a port that something else on its host uses.",
		"Choose another port, such as 8443."},
	invalidVirtualAddress: {hcl.DiagError, "Unsuitable virtual address",
		"The address that the load balancer's hosts share can't move between them: there is one host only, or the address is a machine's own, of another network or of another family.",
		"Name two hosts or more, and choose a free address of their network."},
	invalidListener: {hcl.DiagError, "Unsuitable listener",
		"A service that the load balancer is to pass on leads nowhere, or to itself.",
		"See the block listen in docs/inventory.md."},
	missingEndpoint: {hcl.DiagError, "Missing endpoint",
		"There are two masters, no load balancer and no endpoint, so that it is not known what clients shall dial.",
		"Add a load_balancer block, or set cluster.endpoint to a load balancer of your own."},
	uncoveredEndpoint: {hcl.DiagError, "Endpoint that no certificate covers",
		"Clients would dial a name or address that is in no API server's certificate, and refuse the connection.",
		"Add it to cluster.cert_sans, or use the load balancer's name or address."},
	unresolvedEndpoint: {hcl.DiagError, "Endpoint that does not resolve",
		"The endpoint is a name that only the cluster's own name service knows, which no host asks.",
		"Add a load_balancer block, or write an address."},
	endpointMismatch: {hcl.DiagError, "Endpoint where nothing listens",
		"The endpoint's host is in the inventory, but has neither load balancer nor API server at that port.",
		"Use the load balancer's port; API servers listen on 6443."},
	endpointBypass: {hcl.DiagWarning, "Endpoint is a single master",
		"Clients dial one of several masters; when it fails, the cluster can't be reached.",
		"Use the load balancer's address and port."},
	renewWindow: {hcl.DiagError, "Certificates always due",
		"The renewal window is as long as the validity, or a certificate would outlive its authority.",
		"Keep cert_renew_before < cert_validity <= ca_validity."},
	cgroupDrivers: {hcl.DiagError, "Two cgroup drivers",
		"Runtime and kubelet must have one cgroup driver, and kubelet.settings names another than runtime.cgroup_driver.",
		"Set runtime.cgroup_driver and leave cgroupDriver out of kubelet.settings."},
	invalidRegistry: {hcl.DiagError, "Invalid registry",
		"A registry block says something the runtime can't do, or says only half of it.",
		"See the block registry in docs/inventory.md."},
	invalidSigner: {hcl.DiagError, "Invalid signer",
		"A signer block says half of what it takes to sign, or signs for an authority that another one signs for.",
		"See the block signer in docs/inventory.md."},
	invalidLock: {hcl.DiagError, "Invalid lock file",
		"The lock file beside the inventory is damaged, perhaps by a merge.",
		"Restore it from version control; kinstall apply writes it."},
}
