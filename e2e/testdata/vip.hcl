# A master, and two machines that share an address before it.

cluster "solo" {
  version  = "1.36.3"
  endpoint = "kubernetes.default.svc:8443"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["wudang", "emei"]
  vip   = "10.88.0.40"

  listen "greeting" {
    port        = 8080
    target_port = 8081
    roles       = ["master"]
  }
}

dns {
  upstreams = []
}

host "shaolin" {
  address = "10.88.0.11"
  roles   = ["etcd", "master"]
  taints  = []
}

host "wudang" {
  address = "10.88.0.12"
}

host "emei" {
  address = "10.88.0.13"
}
