# Two hosts with containerd and nothing else: for changes that cut the operator
# off.

cluster "cut" {
  pod_cidr = "10.77.0.0/16"
}

network "routes" {}

host "taishan" {
  address    = "10.95.0.11"
  roles      = ["container"]
  pod_subnet = "10.77.10.0/24"
}

host "songshan" {
  address    = "10.95.0.12"
  roles      = ["container"]
  pod_subnet = "10.77.20.0/24"
}
