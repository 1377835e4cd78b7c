cluster "c" {
  version = "1.36.3"
  cert_validity     = "1s"
  cert_renew_before = "1ms"
  ca_validity       = "9999999999h"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

ssh {
  timeout = "1ns"
}
