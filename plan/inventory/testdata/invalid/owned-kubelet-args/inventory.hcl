cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

kubelet {
  args = {
    anonymous-auth     = true
    authorization-mode = "AlwaysAllow"
    cgroup-driver      = "cgroupfs"
    client-ca-file     = "/etc/passwd"
    healthz-port       = 1
    pod-manifest-path  = "/tmp"
    read-only-port     = 10255
    root-dir           = "/tmp"
    tls-cert-file      = "/tmp/x"
    version            = "true"
  }
}
