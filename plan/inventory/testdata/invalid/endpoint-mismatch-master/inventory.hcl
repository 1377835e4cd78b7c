cluster "wuxia" {
  version = "1.36.3"
  endpoint = "shaolin:8443"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
