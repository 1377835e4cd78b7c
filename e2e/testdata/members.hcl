# A cluster whose members of etcd come and go: the test gives their hosts the role.

cluster "wuxia" {
  version  = "1.36.3"
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
  roles   = ["master", "etcd"]
}

host "wudang" {
  address = "10.88.0.12"
  roles   = ["master"]
}

host "emei" {
  address = "10.88.0.13"
  roles   = []
}

host "huashan" {
  address = "10.88.0.14"
  roles   = ["worker"]
}

host "kunlun" {
  address = "10.88.0.15"
  roles   = ["worker"]
}
