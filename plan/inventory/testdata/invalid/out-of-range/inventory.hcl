cluster "wuxia" {
  version = "1.36.3"
  pod_subnet_size = 1000
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

ssh {
  port = 70000
}

network "routes" {
  mtu = 1.5
}
