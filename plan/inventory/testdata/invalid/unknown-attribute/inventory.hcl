cluster "wuxia" {
  version = "1.36.3"
  pod_cdir = "10.244.0.0/16"
  colour = "red"
}

ssh {
  bastion = "gate"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

version = 3
