# Three masters and two workers: the smallest cluster that survives the loss
# of any one machine. Everything not said here has a default, which
# `kinstall validate -resolved` shows.

cluster "production" {
  version = "1.36.3"

  # What every client dials. The name leads to the load balancer below: all
  # machines get a line for it in /etc/hosts, and it stands in every API
  # server's certificate. For your own laptop, add it to your DNS.
  endpoint = "api.k8s.example.com:8443"

  # Each machine gets a /24 of the pods' network. Neither may overlap with the
  # network of the machines.
  pod_cidr     = "10.244.0.0/16"
  service_cidr = "10.96.0.0/12"
}

ssh {
  user        = "root"
  key_file    = "~/.ssh/id_ed25519"
  known_hosts = "~/.ssh/known_hosts"
}

# A route on each machine for the pods of every other one. The machines need
# to be on one network segment.
network "routes" {}

load_balancer "nginx" {
  hosts = ["master-3"]
  port  = 8443
}

# Machines of two months' uptime have gathered more watches than the default.
preparation {
  sysctls = { "fs.inotify.max_user_watches" = 1048576 }
}

kubelet {
  settings = {
    evictionHard = { "memory.available" = "200Mi" }
  }
}

# Three etcd members agree as long as two of them are up.
host "master-1" {
  address = "192.168.10.11"
  roles   = ["etcd", "master"]
}

host "master-2" {
  address = "192.168.10.12"
  roles   = ["etcd", "master"]
}

host "master-3" {
  address = "192.168.10.13"
  roles   = ["etcd", "master"]
}

host "worker-1" {
  address = "192.168.10.21"
  roles   = ["worker"]
  labels  = { "topology.kubernetes.io/zone" = "a" }
}

# Only pods that tolerate the taint land here.
host "worker-2" {
  address = "192.168.10.22"
  roles   = ["worker"]
  labels  = { "topology.kubernetes.io/zone" = "b", disk = "ssd" }
  taints  = ["dedicated=database:NoSchedule"]
}
