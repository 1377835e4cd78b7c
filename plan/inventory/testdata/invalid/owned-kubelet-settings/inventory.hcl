cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

kubelet {
  settings = {
    authentication = { anonymous = { enabled = true }, webhook = { enabled = false } }
    cgroupDriver   = "systemd\nx: y"
    port           = 10251
    readOnlyPort   = 10255
    staticPodURL   = "http://evil.example.com"
  }
}
