# One machine that is everything: for what goes wrong.

cluster "solo" {
  version = "1.36.3"
}

network "routes" {}

dns {
  upstreams = []
}

host "taishan" {
  address = "10.89.0.11"
  roles   = ["etcd", "master"]
  taints  = []
}
