cluster "wuxia" {
  version = "1.36.3"
  endpoint = ["a:1"]
  cert_sans = "api.example.com"
  pod_subnet_size = "many"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

ssh {
  agent = "perhaps"
  port  = true
}

etcd {
  args = { v = [1] }
}

kubelet {
  settings = "all"
}
