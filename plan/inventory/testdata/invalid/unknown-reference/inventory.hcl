cluster "wuxia" {
  version = "1.36.3"
}

variable "workers" {
  default = 3
}

locals {
  net = local.nett
}

host "shaolin" {
  address = var.adress
  roles   = [etcd, "master"]
  labels  = { a = host.x.address, b = var.worker, c = count.index, d = vars.x }
}

host "w" {
  count   = 1
  address = "10.0.0.${count.indx}"
  roles   = ["worker"]
}
