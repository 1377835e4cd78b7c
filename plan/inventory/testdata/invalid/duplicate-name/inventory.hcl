cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "emei" {
  address = "10.0.0.2"
  roles   = ["worker"]
}

host "emei" {
  address = "10.0.0.3"
  roles   = ["worker"]
}

host "w" {
  count   = 3
  name    = "w"
  address = "10.0.1.${count.index}"
  roles   = ["worker"]
}
