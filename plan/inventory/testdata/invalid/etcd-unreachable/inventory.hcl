cluster "wuxia" {
  version = "1.36.3"
}

host "a" {
  address = "fd00::1"
  roles   = ["etcd"]
}

host "b" {
  address = "10.0.0.2"
  roles   = ["master"]
}
