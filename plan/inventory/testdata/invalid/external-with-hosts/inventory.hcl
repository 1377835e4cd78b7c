cluster "wuxia" {
  version = "1.36.3"
  endpoint  = "10.0.0.40:6443"
  cert_sans = ["10.0.0.40"]
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

load_balancer "external" {
  hosts = ["shaolin"]
  vip   = "10.0.0.41"
}
