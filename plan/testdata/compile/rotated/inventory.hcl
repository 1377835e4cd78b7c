# Kubelets renew their own certificates.

cluster "rotated" {
  version = "1.36.3"
}

network "routes" {}

kubelet {
  certificates         = "rotated"
  serving_certificates = "requested"
}

host "shaolin" {
  address = "10.27.52.71"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.27.53.41"
  roles   = ["worker"]
}
