cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

preparation {
  sysctls = {
    "net core"        = 1
    "vm.swappiness"   = ""
    "kernel.core\n.x" = 1
  }
}
