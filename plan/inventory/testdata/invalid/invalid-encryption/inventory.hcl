cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.27.1.1"
  roles   = ["etcd", "master"]
}

pki {
  encryption {
    recipients    = ["AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SSYTLQ3", "age1b", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
    identity_file = ""
  }
}
