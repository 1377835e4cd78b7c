cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
  ssh {
    fingerprint = "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48"
  }
}

host "b" {
  address = "10.0.0.2"
  roles   = ["worker"]
  ssh {
    fingerprint = "SHA256:abc"
  }
}
