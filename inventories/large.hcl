# A large cluster behind a jump host: groups of hosts instead of a block each,
# numbers in variables, addresses by calculation.
#
#   kinstall plan -var workers=40 inventories/large.hcl

variable "workers" {
  type        = number
  default     = 24
  description = "How many general workers to have"

  validation {
    condition     = var.workers >= 1 && var.workers <= 200
    error_message = "There is room for 1 to 200 workers in their network."
  }
}

variable "zones" {
  type        = map(string)
  default     = { a = "10.30.1.0/24", b = "10.30.2.0/24", c = "10.30.3.0/24" }
  description = "Zones and their networks: one master in each"
}

variable "domain" {
  type    = string
  default = "example.com"
}

locals {
  site    = "10.30.0.0/16"
  workers = cidrsubnet(local.site, 8, 10)
  api     = "api.k8s.${var.domain}"
}

cluster "large" {
  version  = "1.36.3"
  endpoint = "${local.api}:6443"

  # A load balancer of our own stands before the masters, for people; its name
  # resolves. Each machine has a small one of its own: nothing else is said here.
  cert_sans = [local.api]

  # 4,096 machines with 62 pods each.
  pod_cidr        = "10.128.0.0/14"
  pod_subnet_size = 26
  service_cidr    = "10.96.0.0/16"
}

# Machines are reached through the gate only, as a user with sudo.
ssh {
  user     = "debian"
  key_file = "~/.ssh/fleet_ed25519"

  bastion {
    address = "gate.${var.domain}"
    user    = "jump"
  }
}

# This network routes between zones itself.
network "external" {}

# With nftables, many services cost no more than few.
kube_proxy {
  mode = "nftables"
}

artifacts {
  source = "https://mirror.${var.domain}/kubernetes"
}

api_server {
  args = {
    "max-requests-inflight"          = 800
    "max-mutating-requests-inflight" = 400
  }
}

# One master in each zone: master-a, master-b, master-c.
host "master" {
  for_each = var.zones
  address  = cidrhost(each.value, 10)
  roles    = ["etcd", "master"]
  labels   = { "topology.kubernetes.io/zone" = each.key }
}

# worker000, worker001 … dealt out to the zones in turn.
host "worker" {
  count   = var.workers
  name    = format("worker%03d", count.index)
  address = cidrhost(local.workers, count.index + 10)
  roles   = ["worker"]
  labels  = { "topology.kubernetes.io/zone" = element(keys(var.zones), count.index) }
}

# Machines with much memory, kept for databases.
host "db" {
  for_each = { for i, zone in keys(var.zones) : zone => cidrhost(var.zones[zone], 100 + i) }
  address  = each.value
  roles    = ["worker"]
  labels   = { "topology.kubernetes.io/zone" = each.key, memory = "large" }
  taints   = ["dedicated=database:NoSchedule"]
}
