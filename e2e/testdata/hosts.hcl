# A cluster whose hosts come and go: at first a master and a worker.

cluster "wuxia" {
  version  = "1.36.3"
  endpoint = "kubernetes.default.svc:8443"
}

etcd {
  version = "3.6.8"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["shaolin"]
  port  = 8443
}

dns {
  upstreams = []
}

rollout {
  drain_timeout = "20s"
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

# Reached as a user who is not root.
host "hengshan" {
  address = "10.88.0.15"
  roles   = ["worker"]

  ssh {
    user   = "operator"
    become = true
  }
}
