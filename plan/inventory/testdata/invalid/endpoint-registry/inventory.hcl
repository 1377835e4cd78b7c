cluster "c" {
  version = "1.36.3"
  endpoint = "registry.k8s.io:6443"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
