# The cluster that is upgraded: three masters and two workers, at the previous minor.

cluster "wuxia" {
  version  = "1.35.4"
  endpoint = "kubernetes.default.svc:8443"
}

etcd {
  version = "3.6.8"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["emei"]
  port  = 8443
}

dns {
  upstreams = []
}

host "shaolin" {
  address = "10.88.0.11"
  roles   = ["etcd", "master"]
}

host "wudang" {
  address = "10.88.0.12"
  roles   = ["etcd", "master"]
}

host "emei" {
  address = "10.88.0.13"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.88.0.14"
  roles   = ["worker"]
}

host "kunlun" {
  address = "10.88.0.15"
  roles   = ["worker"]
}
