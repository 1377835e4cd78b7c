cluster "wuxia" {
  version = "1.36.3"
  endpoint  = "api.example.com:6443"
  cert_sans = ["api.example.com"]
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "wudang" {
  address = "10.0.0.2"
  roles   = ["master"]
}

load_balancer "external" {}
