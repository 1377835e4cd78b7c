cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "huashan" {
  address = "10.0.0.2"
  roles   = ["worker"]
}

load_balancer "haproxy" {
  hosts   = ["huashan"]
  weights = { huashan = 2, shaolim = 1, shaolin = 257, "a b" = 1, wudang = 1.5, emei = "many" }
  timeout = "10s"
}
