cluster "Wu Xia" {
  version = "1.36.3"
  domain  = "Cluster.Local"
}

host "Shao_Lin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "localhost" {
  address = "10.0.0.2"
  roles   = ["worker"]
}

host "10.0.0.3" {
  address = "10.0.0.3"
  roles   = ["worker"]
}

host "w" {
  for_each = ["a", "B_c"]
  address  = "10.0.1.${length(each.key)}"
  roles    = ["worker"]
}
