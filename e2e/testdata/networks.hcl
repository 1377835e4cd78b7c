# Three machines that run pods, for one network after the other: the tests put
# theirs in place of routes.

cluster "nets" {
  version = "1.36.3"
}

network "routes" {}

dns {
  upstreams = ["none"]
}

host "hengshan" {
  address        = "10.91.0.11"
  tunnel_address = "10.92.0.11/24"
  roles          = ["etcd", "master"]
  taints         = []
}

host "lushan" {
  address        = "10.91.0.12"
  tunnel_address = "10.92.0.12/24"
  roles          = ["worker"]
}

host "yandang" {
  address        = "10.91.0.13"
  tunnel_address = "10.92.0.13/24"
  roles          = ["worker"]
  pod_subnet     = "10.244.77.0/24"
}
