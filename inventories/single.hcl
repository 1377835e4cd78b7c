# One machine that is everything: for trying out, or a small service at the
# edge. Without a load balancer, clients dial the master itself.

cluster "solo" {
  version = "1.36.3"
}

ssh {
  key_file = "~/.ssh/id_ed25519"
}

host "solo" {
  address = "192.168.10.5"
  roles   = ["etcd", "master"]
  taints  = [] # let pods run on the master
}
