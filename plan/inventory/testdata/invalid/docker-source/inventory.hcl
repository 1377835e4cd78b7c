cluster "c" {}

runtime "docker" {
  version = "28.5.1"
  package = "docker-ce"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["container"]
}
