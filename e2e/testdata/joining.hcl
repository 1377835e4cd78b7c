# A cluster of one master, whose workers come and join it.

cluster "wuxia" {
  version = "1.36.3"
}

network "routes" {}

dns {
  upstreams = []
}

controller_manager {
  args = { cluster-signing-duration = "3m" }
}

host "taishan" {
  address = "10.89.0.11"
  roles   = ["etcd", "master"]
  taints  = []
}

host "songshan" {
  address = "10.89.0.12"
  roles   = ["worker"]
}
