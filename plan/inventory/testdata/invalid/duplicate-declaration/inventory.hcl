locals {
  a = 1
}

locals {
  a = 2
}

variable "x" {
  default = 1
}

variable "x" {
  default = 2
}

cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
