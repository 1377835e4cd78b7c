cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

preparation {
  sysctls = {
    "kernel.panic"         = 60
    "vm/overcommit_memory" = 2
    "vm.panic_on_oom"      = 0
  }
}
