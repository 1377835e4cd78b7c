cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

variable "zone" {
  defualt = "north"
}

etcd {
  args = { log-level = var.zone }
}
