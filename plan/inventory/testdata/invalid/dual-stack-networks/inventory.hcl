cluster "c" {
  version            = "1.36.3"
  pod_cidr_v6        = "fd00:10:244::/48"
  pod_subnet_size_v6 = 80
  service_cidr_v6    = "fd00:10:244:96::/64"
}

network "bird" {}

runtime "docker" {}

host "a" {
  address    = "10.1.0.1"
  address_v6 = "fd00:10:244::1"
  roles      = ["etcd", "master"]
}

host "b" {
  address    = "10.1.0.2"
  address_v6 = "fd00:10:244::1"
  roles      = ["worker"]
}
