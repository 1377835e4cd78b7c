cluster "c" {
  version      = "1.36.3"
  pod_cidr     = "fd00:10::/48"
  service_cidr = "fd00:96::/112"
}

network "flannel" {}

host "a" {
  address = "fd00:1::1"
  roles   = ["etcd", "master"]
}
