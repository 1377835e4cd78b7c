cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["master"]
  state   = "cordoned"
}

host "emei" {
  address = "10.0.0.2"
  roles   = ["etcd"]
  state   = "drained"
}

host "huashan" {
  address = "10.0.0.3"
  roles   = ["worker"]
  state   = "asleep"
}
