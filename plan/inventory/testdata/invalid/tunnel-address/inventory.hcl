cluster "c" {
  version = "1.36.3"
}

network "openvswitch" {
  tunnel    = "geneve"
  interface = "eth1 up"
}

host "a" {
  address        = "10.1.0.1"
  roles          = ["etcd", "master"]
  tunnel_address = "10.92.0.11"
}

host "b" {
  address        = "10.1.0.2"
  roles          = ["worker"]
  tunnel_address = "10.92.0.0/24"
}

host "c" {
  address        = "10.1.0.3"
  roles          = ["worker"]
  tunnel_address = "10.92.0.13/24"
}

host "d" {
  address        = "10.1.0.4"
  roles          = ["worker"]
  tunnel_address = "10.92.0.13/24"
}

host "e" {
  address        = "10.1.0.5"
  roles          = ["worker"]
  tunnel_address = "10.1.0.4/24"
}

host "f" {
  address        = "10.1.0.6"
  roles          = ["worker"]
  tunnel_address = "10.244.3.1/24"
}

host "g" {
  address        = "10.1.0.7"
  roles          = ["worker"]
  tunnel_address = "fd00::7/64"
}

host "h" {
  address        = "10.1.0.8"
  roles          = ["worker"]
  tunnel_address = "10.92.0.18/240"
}
