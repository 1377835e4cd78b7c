cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
  labels = {
    "a/b/c" = "x"
    zone    = "north side"
    "kubernetes.io/hostname" = "other"
  }
}
