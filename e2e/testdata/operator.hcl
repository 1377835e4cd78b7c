# What every story's inventory has at its end: how the lab's machines are reached,
# and where binaries and images come from.

variable "lab" {
  type        = string
  description = "directory with the operator's key and known_hosts"
}

variable "mirror" {
  type        = string
  description = "directory with binaries and images"
}

ssh {
  key_file    = "${var.lab}/id_ed25519"
  known_hosts = "${var.lab}/known_hosts"
}

artifacts {
  source = var.mirror
  images = { "kinstall.example/toolbox:1" = "toolbox.tar" }
}
