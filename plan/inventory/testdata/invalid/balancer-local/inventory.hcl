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

load_balancer "local" {
  hosts   = ["shaolin"]
  port    = 10250
  timeout = "600h"
}
