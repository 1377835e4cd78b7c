cluster "wuxia" {
  version = "1.36.3"
  endpoint = "10.0.0.9:6443"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.0.0.9"
  roles   = ["worker"]
}
