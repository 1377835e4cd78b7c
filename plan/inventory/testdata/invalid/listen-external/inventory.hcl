cluster "wuxia" {
  version   = "1.36.3"
  endpoint  = "10.0.0.40:6443"
  cert_sans = ["10.0.0.40"]
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "wudang" {
  address = "10.0.0.2"
  roles   = ["worker"]
  labels  = { ingress = "public" }
}

host "emei" {
  address = "10.0.0.3"
  roles   = ["worker"]
}

load_balancer "external" {
  listen "web" {
    port = 443
  }
}
