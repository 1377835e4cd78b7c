cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

dns {
  upstreams = ["10.96.0.10", "10.96.0.10:5353"]
}
