# Everything containerd can be told, on a node and on a host without Kubernetes.
cluster "c" {
  version = "1.36.3"
}

runtime "containerd" {
  sandbox_image = "registry.example.com/pause:3.10.1"
  cgroup_driver = "cgroupfs"
  settings      = { plugins = { "io.containerd.cri.v1.images" = { max_concurrent_downloads = 5 } } }

  proxy {
    http     = "http://proxy.example.com:3128"
    https    = "http://proxy.example.com:3128"
    no_proxy = [".example.com", "10.0.0.0/8"]
  }

  registry "docker.io" {
    mirrors = ["https://mirror.example.com/v2/hub", "http://10.9.0.1:5000"]
  }

  registry "registry.example.com" {
    ca_file       = "ca.pem"
    username      = "puller"
    password_file = "password"
  }

  registry "quay.io" {
    username      = "robot"
    password_file = "password"
  }
}

kube_proxy {
  mode = "nftables"
}

host "master" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

host "side" {
  address = "10.27.1.2"
  roles   = ["container"]
}
