cluster "wuxia" {
  version = "1.36.3"
}

host "a" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
  pod_subnet = "10.1.0.0/24"
}

host "b" {
  address = "10.0.0.2"
  roles   = ["worker"]
  pod_subnet = "10.244.1.0/25"
}

host "c" {
  address = "10.0.0.3"
  roles   = ["worker"]
  pod_subnet = "10.244.7.0/24"
}

host "d" {
  address = "10.0.0.4"
  roles   = ["worker"]
  pod_subnet = "10.244.7.0/24"
}

host "e" {
  address = "10.0.0.5"
  roles   = ["etcd"]
  pod_subnet = "10.244.9.0/24"
}

host "f" {
  address = "10.0.0.6"
  roles   = ["etcd"]
}
