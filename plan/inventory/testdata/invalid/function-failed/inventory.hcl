cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

pki {
  dir = file("secret.txt")
}

ssh {
  user = cidrhost("10.0.0.0/30", 9)
}
