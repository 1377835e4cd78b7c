cluster "c" {
  version         = "1.36.3"
  pod_cidr_v6     = "fd00:10:244::/63"
  service_cidr_v6 = "fd00:10:96::/112"
}

network "flannel" {
  store = "etcd"
}

host "a" {
  address       = "10.1.0.1"
  address_v6    = "fd00:1::1"
  pod_subnet_v6 = "fd00:10:245::/64"
  roles         = ["etcd", "master"]
}

host "b" {
  address       = "10.1.0.2"
  address_v6    = "fd00:1::2"
  pod_subnet_v6 = "fd00:10:244::/65"
  roles         = ["worker"]
}

host "d" {
  address       = "10.1.0.3"
  address_v6    = "fd00:1::3"
  pod_subnet_v6 = "fd00:10:244::/64"
  roles         = ["worker"]
}
