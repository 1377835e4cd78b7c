cluster "wuxia" {
  version = "1.36.3"
  cert_validity = "24h"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
