# flannel without Kubernetes, with an etcd of its own.
cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

runtime "docker" {}

network "flannel" {
  store = "etcd"
}

host "one" {
  address = "10.27.1.1"
  roles   = ["container", "etcd"]
}

host "two" {
  address = "10.27.1.2"
  roles   = ["etcd"]
}

host "three" {
  address = "10.27.1.3"
  roles   = ["etcd"]
}
