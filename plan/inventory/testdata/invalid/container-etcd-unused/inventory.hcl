# Without Kubernetes only flannel makes use of etcd.
cluster "c" {}

host "a" {
  address = "10.27.1.1"
  roles   = ["container", "etcd"]
}
