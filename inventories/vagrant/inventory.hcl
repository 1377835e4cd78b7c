# The machines of the Vagrantfile beside this file; docs/vagrant.md has the steps.

variable "provider" {
  type        = string
  default     = "virtualbox"
  description = "Vagrant's provider, which names the directory of the machines' keys"

  validation {
    condition     = contains(["virtualbox", "libvirt"], var.provider)
    error_message = "The Vagrantfile knows the providers virtualbox and libvirt."
  }
}

locals {
  masters = ["master-1", "master-2", "master-3"]
  network = "192.168.56.0/24"
}

cluster "vagrant" {
  version  = "1.36.3"
  endpoint = "kubernetes.default.svc:8443"
}

# Vagrant's user may use sudo without a password.
ssh {
  user        = "vagrant"
  known_hosts = "known_hosts"
}

network "routes" {}

load_balancer "nginx" {
  hosts = ["master-3"]
  port  = 8443
}

# Vagrant names the machines as below; boxes come with swap or without.
preparation {
  set_hostname = true
}

# Vagrant makes a key for each machine.
host "master" {
  for_each = { for i, name in local.masters : name => cidrhost(local.network, 11 + i) }
  name     = each.key
  address  = each.value
  roles    = ["etcd", "master"]

  ssh {
    key_file = ".vagrant/machines/${each.key}/${var.provider}/private_key"
  }
}

host "worker-1" {
  address = cidrhost(local.network, 21)
  roles   = ["worker"]

  ssh {
    key_file = ".vagrant/machines/worker-1/${var.provider}/private_key"
  }
}
