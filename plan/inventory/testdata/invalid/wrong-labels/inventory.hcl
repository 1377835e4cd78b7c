cluster {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

ssh "root" {}

host "a" "b" {
  address = "10.0.0.2"
}

network {}
