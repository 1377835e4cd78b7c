cluster "wuxia" {
  version = "1.36.3"
  endpoint = "https://api.example.com:6443/"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
