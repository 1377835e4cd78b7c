cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

kubelet {
  settings = { evictionHard = { "memory.available" = "200\u0092Mi" } }
}
