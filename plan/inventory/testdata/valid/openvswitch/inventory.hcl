cluster "c" {}

runtime "docker" {}

network "openvswitch" {
  tunnel    = "gre"
  datapath  = "userspace"
  interface = "ens5"
}

host "a" {
  address        = "10.1.0.1"
  roles          = ["container"]
  tunnel_address = "10.92.0.11/24"
}

host "b" {
  address        = "10.1.0.2"
  roles          = ["container"]
  tunnel_address = "10.92.0.12/24"
}
