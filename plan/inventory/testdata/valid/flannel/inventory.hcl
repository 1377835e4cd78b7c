cluster "c" {
  version = "1.36.3"
}

network "flannel" {
  store = "etcd"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
