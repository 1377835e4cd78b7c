# Docker alone: flannel joins its containers, with an etcd of its own.

cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

runtime "docker" {}

network "flannel" {
  store = "etcd"
}

host "one" {
  address    = "10.27.1.1"
  roles      = ["container", "etcd"]
  pod_subnet = "10.1.10.0/24"
}

host "two" {
  address = "10.27.1.2"
  roles   = ["container"]
}

host "three" {
  address = "10.27.1.3"
  roles   = ["etcd"]
}

host "four" {
  address = "10.27.1.4"
  roles   = ["etcd"]
}
