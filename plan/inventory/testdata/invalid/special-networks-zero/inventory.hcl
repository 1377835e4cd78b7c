cluster "c" {
  version = "1.36.3"
  pod_cidr     = "0.0.0.0/16"
  service_cidr = "169.254.0.0/16"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
