cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "a" {
  count = "3x"
  address = "10.0.0.2"
  roles   = ["worker"]
}

host "b" {
  count = -1
  address = "10.0.0.2"
  roles   = ["worker"]
}

host "c" {
  count = 100000
  address = "10.0.0.2"
  roles   = ["worker"]
}

host "d" {
  for_each = "abc"
  address = "10.0.0.2"
  roles   = ["worker"]
}

host "e" {
  for_each = [1, 2]
  address = "10.0.0.2"
  roles   = ["worker"]
}
