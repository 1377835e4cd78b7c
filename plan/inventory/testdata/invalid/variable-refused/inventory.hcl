variable "workers" {
  type = number

  validation {
    condition     = var.workers > 0 && var.workers < 10
    error_message = "From 1 to 9 workers, please."
  }
}

cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}
