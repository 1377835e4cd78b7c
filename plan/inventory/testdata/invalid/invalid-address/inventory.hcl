cluster "wuxia" {
  version = "1.36.3"
  cert_sans = ["https://api", "*.example.com", "10.0.0.256"]
}

host "shaolin" {
  address = "10.0.0.1/24"
  roles   = ["etcd", "master"]
}

host "b" {
  address = "127.0.0.1"
  roles   = ["worker"]
}

host "c" {
  address = "10.0.0.3:22"
  roles   = ["worker"]
}

host "d" {
  address = "d.example.com"
  roles   = ["worker"]
}

host "e" {
  address = "::ffff:10.0.0.5"
  roles   = ["worker"]
}

host "f" {
  address = "fe80::1"
  roles   = ["worker"]
}

ssh {
  bastion {
    address = "gate_1"
  }
}

dns {
  upstreams = ["none", "8.8.8.8", "dns.example.com"]
}
