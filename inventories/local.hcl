# Three masters and no load balancer's host: each machine has a small balancer of
# its own on loopback, over all API servers. Any machine may be lost, and no other
# notices. This is the default with three masters and more; the block says only
# what differs from it.

cluster "production" {
  version  = "1.36.3"
  pod_cidr = "10.244.0.0/16"

  # Where people find the API; machines don't dial it. A master will do until
  # there is a name with several addresses, or a load balancer of your own (then
  # put it into cert_sans).
  endpoint = "master-1:6443"
}

ssh {
  user     = "root"
  key_file = "~/.ssh/id_ed25519"
}

load_balancer "local" {
  port = 7443
}

host "master-1" {
  address = "192.168.10.11"
  roles   = ["etcd", "master"]
}

host "master-2" {
  address = "192.168.10.12"
  roles   = ["etcd", "master"]
}

host "master-3" {
  address = "192.168.10.13"
  roles   = ["etcd", "master"]
}

host "worker" {
  count   = 2
  address = cidrhost("192.168.10.0/24", 21 + count.index)
  roles   = ["worker"]
}
