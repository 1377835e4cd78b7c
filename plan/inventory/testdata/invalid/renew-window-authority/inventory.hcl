cluster "wuxia" {
  version = "1.36.3"
  cert_validity = "8760h"
  ca_validity   = "1000h"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
