cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

pki {
  key_algorithm = "rsa-1024"
  organization  = " Wuxia"
  country       = "China"

  signer "vault" {
    command = ["./a"]
  }

  signer "command" {
    authorities = ["service-account"]
    command     = ["", "a\u0007b"]
    url         = "https://ca.example.com"
  }

  signer "cfssl" {
    authorities   = ["etcd"]
    url           = "https://me:secret@ca.example.com"
    profile       = "a b"
    auth_key_file = ""
    timeout       = "10ms"
  }
}
