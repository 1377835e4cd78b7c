# Kubernetes on Docker, and one host beside it that has Docker alone.
cluster "c" {
  version = "1.36.3"
}

runtime "docker" {
  live_restore = false
  settings     = { "log-driver" = "journald" }

  registry "docker.io" {
    username      = "puller"
    password_file = "password"
  }
}

kube_proxy {
  mode = "ipvs"
}

host "master" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

host "worker" {
  address = "10.27.1.2"
  roles   = ["worker"]
}

host "side" {
  address = "10.27.1.3"
  roles   = ["container"]
}
