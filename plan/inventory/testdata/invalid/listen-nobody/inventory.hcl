cluster "wuxia" {
  version = "1.36.3"
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
}

load_balancer "nginx" {
  hosts = ["emei"]

  listen "web" {
    port   = 443
    labels = { ingress = "private" }
  }
}
