cluster "c" {
  version = "1.36.3"
}

network "routes" {
  backend = "vxlan"
  mode    = "bgp"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
