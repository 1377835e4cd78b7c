// Package lab boots a set of real Debian machines on one Linux host: each has
// its own systemd, sshd, host name, machine-id, disk, cgroups and network
// namespace, and hangs by one cable on a bridge that reaches nothing outside, by
// a second one on another bridge if it is asked for.
//
// A machine is a systemd-nspawn container over a shared, read-only root file
// system, run so that software inside (kubelet, containerd, dockerd, etcd) meets
// what it would meet on a machine of its own. How it differs from one:
//
//   - the kernel, its clock and its non-network sysctls are the host's;
//   - a power cut ends all processes but can't lose what is in the page cache;
//   - nothing outside the lab can be reached; packages come from a small
//     repository inside the machine.
//
// # Contract
//
// The caller must be root ([Lab.Supported] says what else is missing). A lab is
// known by its name alone, so any process may open it; commands that change one
// lab exclude each other by a lock. Up converges on the machines it is given and
// is safe to repeat, also after a crash. Down removes every process, cgroup,
// network namespace and file of the lab, whatever state it is in; only the root
// file system stays in the user's cache directory.
//
// # On disk
//
//	UserCacheDir/kinstall/lab/root-KEY     shared root file system, KEY hashes its recipe
//	UserCacheDir/kinstall/lab/mirror       where lab users keep the component mirror
//	/var/lib/kinstall-lab/NAME/operator    the operator's SSH key, known_hosts, ssh_config
//	/var/lib/kinstall-lab/NAME/machines/M  disk, console.log and state of machine M
//
// No mount of a machine is made in the caller's mount namespace: the overlay is
// mounted in a namespace that lives exactly as long as the machine does, so a
// crash leaves no mounts behind.
package lab
