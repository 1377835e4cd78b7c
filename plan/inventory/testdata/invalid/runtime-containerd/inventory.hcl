cluster "c" {
  version = "1.36.3"
}

runtime "containerd" {
  live_restore = true
  settings     = { version = 2 }

  proxy {
    http     = "proxy.example.com:3128"
    no_proxy = ["10.0.0.0/8,.example.com"]
  }
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}
