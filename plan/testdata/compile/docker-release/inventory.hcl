# Docker from its own release.
cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

runtime "docker" {
  version = "28.5.1"
}

host "one" {
  address = "10.27.1.1"
  roles   = ["container"]
}
