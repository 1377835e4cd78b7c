cluster "all" {
  version           = "1.33.7"
  endpoint          = "[fd00:1::50]:443"
  pod_cidr          = "fd00:244::/48"
  pod_subnet_size   = 62
  service_cidr      = "fd00:96::/112"
  domain            = "k8s.example.com"
  cert_sans         = ["fd00:1::50", "*.example.com"]
  cert_validity     = "4380h30m"
  cert_renew_before = "1h0m1s"
  ca_validity       = "43800h"
  hardening         = "baseline"
  feature_gates = {
    AllBeta                   = "false"
    InPlacePodVerticalScaling = "true"
  }
}

ssh {
  user        = "debian"
  port        = 2222
  key_files   = ["/home/operator/.ssh/a", "/inventories/keys/b", "/etc/c"]
  agent       = true
  known_hosts = "/inventories/known hosts/$${file}"
  become      = true
  timeout     = "1m30s"

  bastion {
    address     = "gate.example.com"
    port        = 22022
    user        = "jump"
    key_files   = ["/inventories/keys/jump"]
    known_hosts = "/inventories/known hosts/$${file}"
    fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"
  }
}

etcd {
  version  = "3.5.24"
  data_dir = "/data/etcd"
  args = {
    quota-backend-bytes = "4294967296"
  }
}

network "external" {
}

runtime "containerd" {
  version       = "2.1.0"
  runc_version  = "1.2.0"
  cni_version   = "1.7.1"
  sandbox_image = "mirror.example.com:5000/pause:3.10"
  cgroup_driver = "systemd"
  settings = {
    plugins = {
      "io.containerd.cri.v1.images" = {
        max_concurrent_downloads = 10
        use_local_image_pull     = true
      }
      list = ["a", 1, 1.5, true, {
        "for" = "x"
      }, []]
    }
  }
}

load_balancer "nginx" {
  hosts   = ["lb-1", "lb-2"]
  port    = 443
  timeout = "1h"
}

artifacts {
  source  = "https://mirror.example.com/k8s"
  ca_file = "/inventories/ca.pem"
  sha256 = {
    kubelet = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
  }
  images = {
    "registry.example/a:1" = "/inventories/images/a.tar"
    "registry.example/b:2" = "/home/operator/b.tar"
  }
}

pki {
  dir           = "/secrets"
  key_algorithm = "ecdsa-p256"
}

api_server {
  args = {
    audit-log-maxage = "30"
    profiling        = "false"
  }
}

audit {
  enabled      = true
  policy_file  = "/inventories/policies/audit.yaml"
  log_path     = "/srv/audit/api.log"
  max_age      = 90
  max_backups  = 7
  max_size     = 50
  webhook_file = "/inventories/policies/hook.yaml"
}

admission {
  enable      = ["AlwaysPullImages", "EventRateLimit"]
  disable     = ["DefaultIngressClass"]
  config_file = "/inventories/policies/admission.yaml"

  pod_security {
    enforce           = "privileged"
    audit             = "baseline"
    warn              = "restricted"
    exempt_namespaces = ["storage", "monitoring"]
  }
}

controller_manager {
  args = {
    terminated-pod-gc-threshold = "500"
  }
}

scheduler {
  args = {
    v = "2"
  }
}

kubelet {
  certificates         = "planned"
  serving_certificates = "planned"
  args = {
    v = "4"
  }
  settings = {
    evictionHard = {
      "memory.available" = "200Mi"
    }
    imageGCHighThresholdPercent = 80
    maxPods                     = 200
    reservedMemory = [{
      limits = {
        memory = "1Gi"
      }
      numaNode = 0
    }]
    syncFrequency = "1m"
  }
}

kube_proxy {
  mode = "nftables"
  settings = {
    conntrack = {
      maxPerCore = 0
    }
    nodePortAddresses = ["primary"]
  }
}

dns {
  kind      = "coredns"
  version   = "1.12.0"
  upstreams = ["2001:db8::53", "[2001:db8::54]:5353"]
}

preparation {
  set_hostname   = true
  swap           = "keep"
  max_clock_skew = "500ms"
  sysctls = {
    "net.ipv4.ip_local_port_range"   = "1024 65000"
    "net/ipv4/conf/eth0.1/rp_filter" = "0"
  }
}

rollout {
  workers       = "10%"
  drain_timeout = "5m"
}

host "master-0" {
  address = "fd00:1::10"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "master-1" {
  address = "fd00:1::11"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "master-2" {
  address = "fd00:1::12"
  roles   = ["etcd", "master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = ""
  }
  taints = ["node-role.kubernetes.io/control-plane:NoSchedule"]
  state  = "active"
}

host "free" {
  address = "fd00:1::20"
  roles   = ["master"]
  labels = {
    "node-role.kubernetes.io/control-plane" = null
  }
  state      = "active"
  pod_subnet = "fd00:244:0:4::/62"
  taints     = []

  ssh {
    user      = "root"
    key_files = ["/inventories/keys/free"]

    bastion {
      address = ""
    }
  }
}

host "lb-1" {
  address = "fd00:1::51"

  ssh {
    key_files   = []
    agent       = false
    fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"

    bastion {
      address     = "gate2.example.com"
      port        = 22
      user        = "debian"
      known_hosts = "/inventories/known hosts/$${file}"
    }
  }
}

host "lb-2" {
  address = "fd00:1::52"

  ssh {
    key_files   = []
    agent       = false
    fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"

    bastion {
      address     = "gate2.example.com"
      port        = 22
      user        = "debian"
      known_hosts = "/inventories/known hosts/$${file}"
    }
  }
}

host "db" {
  address = "fd00:1::30"
  roles   = ["worker"]
  labels = {
    "1"               = "2"
    "example.com/for" = ""
    "for"             = "x"
    zone              = "north"
  }
  taints = ["dedicated=db:NoSchedule", "dedicated:NoExecute"]
  state  = "active"
}
