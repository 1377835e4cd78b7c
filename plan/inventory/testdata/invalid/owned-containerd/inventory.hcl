cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

runtime "containerd" {
  settings = {
    version = 2
    grpc    = { address = "/run/elsewhere.sock" }
    root    = "/usr/bin"
    plugins = {
      "io.containerd.cri.v1.runtime" = {
        containerd = { runtimes = { runc = { options = { SystemdCgroup = false } } } }
      }
    }
  }
}
