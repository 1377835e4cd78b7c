variable "domain" {}

variable "workers" {
  type = number
}

variable "zones" {
  type    = map(object({ net = string, size = optional(number, 2) }))
  default = {}
}

variable "tags" {
  default = { team = "core" }
}

variable "fast" {
  default = false
}

locals {
  # Locals may stand in any order.
  api = "${local.prefix}.${var.domain}"
  hosts = flatten([
    for name, zone in var.zones : [
      for i in range(zone.size) : { name = "${name}${i}", address = cidrhost(zone.net, i + 1), zone = name }
    ]
  ])
}

locals {
  prefix = "api"
}

cluster "c" {
  version   = "1.35.1"
  endpoint  = "${local.api}:6443"
  cert_sans = concat([local.api], jsondecode("[\"10.9.9.9\"]"), yamldecode("[a.example.com]"))
}

kube_proxy {
  mode = var.fast ? "nftables" : "iptables"
}

host "m" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
  labels  = var.tags
}

host "w" {
  count   = var.workers
  name    = format("w%02d", count.index + 1)
  address = cidrhost(cidrsubnet("10.0.0.0/16", 8, 1), count.index)
  roles   = ["worker"]
  labels  = { parity = count.index % 2 == 0 ? "even" : "odd", first = count.index == 0 ? "yes" : null }
}

host "z" {
  for_each = { for h in local.hosts : h.name => h }
  address  = each.value.address
  roles    = ["worker"]
  labels   = { zone = each.value.zone, tag = try(var.tags.nope, "none"), mask = trimspace(replace(cidrnetmask("10.0.0.0/9"), ".", "-")) }
}

host "u" {
  count   = can(var.tags.team) ? 1 : 0
  address = "10.7.0.1"
  roles   = ["worker"]
  labels  = { note = upper(element(split(",", "a,b"), 3)) }
}
