cluster "c" {
  version         = "1.36.3"
  pod_cidr        = "10.244.0.0/23"
  pod_subnet_size = 24
}

network "flannel" {
  backend = "vxlna"
  store   = "etcd"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
