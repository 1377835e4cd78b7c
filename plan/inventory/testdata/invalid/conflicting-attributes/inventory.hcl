cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

ssh {
  key_file  = "a"
  key_files = ["b"]
}

host "w" {
  count    = 2
  for_each = ["a"]
  address  = "10.0.0.2"
}
