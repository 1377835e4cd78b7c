cluster "c" {
  version = "1.36.3"
}

runtime "containerd" {
  cgroup_driver = "cgroupfs"

  registry "docker.io" {
    mirrors = ["https://mirror.example.com/v2/hub", "http://10.9.0.1:5000"]
  }

  registry "registry.example.com" {
    mirrors = ["https://mirror.example.com"]
  }

  proxy {
    https = "http://[fd00::1]:3128"
  }
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

host "b" {
  address = "10.27.1.2"
  roles   = ["container"]
}
