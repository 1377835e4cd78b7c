cluster "c" {
  version = "1.36.3"
  endpoint = "kubernetes.default.svc:8443"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

host "b" {
  address = "10.1.0.2"
  roles   = ["etcd", "master"]
}

host "c" {
  address = "10.1.0.3"
  roles   = ["etcd", "master"]
}
