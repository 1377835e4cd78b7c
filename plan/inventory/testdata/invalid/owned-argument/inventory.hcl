cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

api_server {
  args = {
    "etcd-servers"             = "https://x:2379"
    "advertise-address"        = "10.0.0.1"
    "tls-cert-file"            = "/x"
    "service-cluster-ip-range" = "10.0.0.0/16"
  }
}

controller_manager {
  args = { "cluster-cidr" = "10.0.0.0/8" }
}

scheduler {
  args = { "leader-elect" = false }
}

kubelet {
  args = { "node-ip" = "10.0.0.1" }
}

etcd {
  args = { "initial-cluster" = "a=b" }
}
