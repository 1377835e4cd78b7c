variable "a b" {
  default = 1
}

variable "b" {
  type = strng
}

variable "c" {
  type    = number
  default = "many"
}

variable "d" {
  default   = 1
  sensitive = true

  validation {
    condition     = var.d
    error_message = "x"
  }

  validation {
    condition = true
  }
}

cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
