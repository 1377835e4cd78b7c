cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

pki {
  encryption {
    passphrase = true
    recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
  }
}
