cluster "c" {
  version = "1.36.3"
}

runtime "containerd" {
  cgroup_driver = "systemd"
}

kubelet {
  settings = {
    cgroupDriver = "cgroupfs"
  }
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}
