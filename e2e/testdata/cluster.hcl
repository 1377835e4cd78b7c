# The end-to-end cluster: three masters and a worker, each reached in another way.

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
  roles   = ["etcd", "master"]
}

# Reached through another machine.
host "wudang" {
  address = "10.88.0.12"
  roles   = ["etcd", "master"]

  ssh {
    bastion {
      address     = "10.88.0.11"
      user        = "root"
      key_file    = "${var.lab}/id_ed25519"
      known_hosts = "${var.lab}/known_hosts"
    }
  }
}

host "emei" {
  address = "10.88.0.13"
  roles   = ["etcd", "master"]
}

# Reached as a user who is not root.
host "huashan" {
  address = "10.88.0.14"
  roles   = ["worker"]
  labels  = { zone = "north" }

  ssh {
    user   = "operator"
    become = true
  }
}
