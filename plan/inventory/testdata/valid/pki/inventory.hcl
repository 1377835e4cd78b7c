cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

pki {
  dir                 = "secrets/pki"
  key_algorithm       = "rsa-3072"
  organization        = "Wuxia Ltd"
  organizational_unit = "Platform"
  country             = "CN"
  province            = "Henan"
  locality            = "Dengfeng"

  signer "cfssl" {
    authorities   = ["kubernetes", "front-proxy"]
    url           = "https://ca.example.com:8888"
    profile       = "kubernetes"
    auth_key_file = "secrets/cfssl.key"
    ca_file       = "cfssl-ca.pem"
    timeout       = "1m"
  }

  encryption {
    recipients    = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
    identity_file = "age.txt"
  }

  signer "command" {
    authorities = ["etcd"]
    command     = ["./sign.sh", "-v", "-v", ""]
  }
}
