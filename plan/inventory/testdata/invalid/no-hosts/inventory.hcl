cluster "wuxia" {
  version = "1.36.3"
}

host "w" {
  count   = 0
  address = "10.0.0.1"
  roles   = ["worker"]
}
