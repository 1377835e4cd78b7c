cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "emei" {
  address = "10.0.0.1"
  roles   = ["worker"]
}

host "w" {
  count   = 4
  address = "10.0.0.7"
  roles   = ["worker"]
}
