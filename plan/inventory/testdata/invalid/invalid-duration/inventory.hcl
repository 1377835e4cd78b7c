cluster "wuxia" {
  version = "1.36.3"
  cert_validity = "365d"
  ca_validity = "-1h"
  cert_renew_before = "soon"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
