cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

ssh {
  bastion {
    address = "fe80::1%x\ny"
  }
}

runtime "containerd" {
  proxy {
    http  = "http://[fe80::1%25x]:3128"
    https = "http://proxy.example.com:3128/%41"
  }

  registry "docker.io" {
    mirrors = ["HTTPS://mirror.example.com", "https://mirror.example.com:70000"]
  }

  registry "registry.example.com:70000" {}
}
