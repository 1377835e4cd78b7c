# Three masters behind HAProxy on machines of its own. It asks each API server once
# a second whether it is ready, and sends clients to those that are. Workers and
# people dial the first of the machines (the endpoint's name leads there); with the
# other one, moving the name is all it takes when the first is lost.

cluster "production" {
  version  = "1.36.3"
  endpoint = "api.k8s.example.com:8443"
  pod_cidr = "10.244.0.0/16"
}

ssh {
  user     = "root"
  key_file = "~/.ssh/id_ed25519"
}

load_balancer "haproxy" {
  hosts = ["balancer-1", "balancer-2"]

  # master-1 is twice the machine that the others are.
  weights = { master-1 = 2 }
}

host "balancer-1" {
  address = "192.168.10.8"
}

host "balancer-2" {
  address = "192.168.10.9"
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
