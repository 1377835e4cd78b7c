# What a misspelt attribute was meant to say is not known: that is the one mistake.
cluster "lab" {
  version = "1.36.3"
}

host "emei" {
  address = "10.0.0.1"
  rolls   = ["etcd", "master"]
}
