cluster "c" {
  version = "1.36.3"
}

network "bird" {
  mode = "bgp"
  asn  = 64513
  mtu  = 1400
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
