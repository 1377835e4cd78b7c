# flannel keeps its subnets in an etcd that nobody has.
cluster "c" {}

network "flannel" {
  store = "etcd"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["container"]
}
