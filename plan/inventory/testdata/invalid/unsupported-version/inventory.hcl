cluster "wuxia" {
  version = "1.32.1"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

runtime "containerd" {
  version      = "1.7.28"
  runc_version = "1.0.3"
}
