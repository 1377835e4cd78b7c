cluster "a" {
  version = "1.36.3"
}

pki {
  signer "command" {
    authorities = ["kubernetes"]
    command     = ["./sign.sh"]
  }
}

kubelet {
  certificates         = "rotated"
  serving_certificates = "requested"
}

host "m" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
