variable "workers" {
  type = number
}

cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "w" {
  count   = var.workers
  address = cidrhost("10.0.1.0/24", count.index)
  roles   = ["worker"]
}
