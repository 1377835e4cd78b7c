# Somebody wants Kubernetes: then its version and a master must be there.
cluster "c" {}

host "a" {
  address = "10.27.1.1"
  roles   = ["container", "worker"]
}

host "b" {
  address = "10.27.1.2"
  roles   = ["container"]
}
