cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "emei" {
  address = "fd00::2"
  roles   = ["worker"]
}
