# Two machines of their own share an address that everybody dials. When the one
# that has it loses its power, the other has it within three seconds; when it
# returns, the address stays where it is.

cluster "production" {
  version = "1.36.3"

  # The name leads to the virtual address below: all machines get a line for it
  # in /etc/hosts, and both stand in every API server's certificate.
  endpoint = "api.k8s.example.com:8443"
}

ssh {
  user        = "root"
  key_file    = "~/.ssh/id_ed25519"
  known_hosts = "~/.ssh/known_hosts"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["balancer-1", "balancer-2"] # the first one has the address at first
  port  = 8443
  vip   = "192.168.10.40" # of the machines' network, and no machine's own

  # An ingress controller's NodePort, on the nodes that have it.
  listen "https" {
    port        = 443
    target_port = 30443
    labels      = { ingress = "public" }
  }
}

host "balancer-1" {
  address = "192.168.10.31"
}

host "balancer-2" {
  address = "192.168.10.32"
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

host "worker-1" {
  address = "192.168.10.21"
  roles   = ["worker"]
  labels  = { ingress = "public" }
}
