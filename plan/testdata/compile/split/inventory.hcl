# Every role on machines of its own, and everything a user can add.

cluster "split" {
  version      = "1.33.5"
  endpoint     = "api.split.example:8443"
  pod_cidr     = "10.32.0.0/16"
  service_cidr = "10.33.0.0/24"
  domain       = "split.example"
  cert_sans    = ["api.public.example", "203.0.113.7"]
}

etcd {
  data_dir = "/srv/etcd"
  args     = { "quota-backend-bytes" = 4294967296, "experimental-initial-corrupt-check" = false }
}

network "external" {}

runtime "containerd" {
  sandbox_image = "mirror.example:5000/pause:3.10"
  settings = {
    plugins = {
      "io.containerd.cri.v1.runtime" = { max_container_log_line_size = 32768, enable_cdi = false }
    }
  }
}

load_balancer "nginx" {
  hosts = ["lb-b", "lb-a"]
  port  = 8443
}

preparation {
  set_hostname = true
  swap         = "keep"
  sysctls      = { "vm.overcommit_memory" = 1, "net.ipv4.ip_forward" = 1 }
}

api_server {
  args = { "anonymous-auth" = false, "audit-log-path" = "-", "enable-admission-plugins" = "NodeRestriction,PodNodeSelector" }
}

controller_manager {
  args = { "bind-address" = "0.0.0.0", "v" = 2 }
}

scheduler {
  args = { "v" = "4" }
}

kubelet {
  args = { "v" = 2 }
  settings = {
    maxPods      = 200
    cgroupDriver = "cgroupfs"
    evictionHard = { "memory.available" = "200Mi" }
    authentication = { webhook = { cacheTTL = "1m" } }
  }
}

kube_proxy {
  mode     = "ipvs"
  settings = { conntrack = { maxPerCore = 0 }, ipvs = { scheduler = "rr" } }
}

artifacts {
  images = { "registry.example/app:1" = "images/app.tar" }
}

dns {
  upstreams = ["192.0.2.53", "[2001:db8::53]:5353"]
}

host "store-2" {
  address = "10.9.1.2"
  roles   = ["etcd"]
}

host "store-3" {
  address = "10.9.1.3"
  roles   = ["etcd"]
}

host "store-1" {
  address = "10.9.1.1"
  roles   = ["etcd"]
}

host "lb-a" {
  address = "10.9.2.1"
}

host "lb-b" {
  address = "10.9.2.2"
}

host "master-1" {
  address = "10.9.3.1"
  roles   = ["master"]
  taints  = []
}

host "master-2" {
  address = "10.9.3.2"
  roles   = ["master"]
}

host "worker" {
  address    = "10.9.4.1"
  roles      = ["worker"]
  labels     = { zone = "north" }
  taints     = ["dedicated=db:NoSchedule"]
  pod_subnet = "10.32.7.0/24"
}
