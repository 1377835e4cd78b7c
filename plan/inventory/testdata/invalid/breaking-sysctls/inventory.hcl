cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

preparation {
  sysctls = {
    "net.ipv4.ip_forward"          = 0
    "net/ipv4/conf/all/forwarding" = 0
    "net.ipv4.conf.all.rp_filter"  = 0
  }
}
