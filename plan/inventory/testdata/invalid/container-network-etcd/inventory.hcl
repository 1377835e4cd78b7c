# Without Kubernetes flannel has no other store than etcd.
cluster "c" {}

network "flannel" {
  store = "kubernetes"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["container", "etcd"]
}
