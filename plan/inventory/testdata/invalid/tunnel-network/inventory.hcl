cluster "c" {
  version = "1.36.3"
}

network "openvswitch" {
  datapath = "userspace"
}

host "a" {
  address        = "10.1.0.1"
  roles          = ["etcd", "master"]
  tunnel_address = "10.92.0.11/24"
}

host "b" {
  address = "10.1.0.2"
  roles   = ["worker"]
}

host "c" {
  address        = "10.1.0.3"
  roles          = ["worker"]
  tunnel_address = "10.93.0.13/24"
}

host "d" {
  address        = "10.92.0.4"
  roles          = ["worker"]
  tunnel_address = "10.92.0.14/24"
}
