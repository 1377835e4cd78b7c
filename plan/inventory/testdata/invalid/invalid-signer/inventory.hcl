cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

pki {
  signer "cfssl" {
    authorities   = ["kubernetes"]
    auth_key_file = "key"
  }

  signer "cfssl" {
    authorities = ["etcd"]
    url         = "https://ca.example.com:8888"
  }

  signer "cfssl" {
    authorities   = []
    url           = "http://ca.example.com:8888"
    auth_key_file = "key"
    ca_file       = "ca.pem"
  }

  signer "command" {
    command = []
  }
}
