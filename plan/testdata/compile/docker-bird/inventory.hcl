# Docker alone, its hosts told by BGP where the others' containers are.

cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

runtime "docker" {}

network "bird" {
  mode = "bgp"
}

host "one" {
  address    = "10.27.1.1"
  roles      = ["container"]
  pod_subnet = "10.1.10.0/24"
}

host "two" {
  address = "10.27.1.2"
  roles   = ["container"]
}
