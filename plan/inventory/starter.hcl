# A highly available Kubernetes cluster: three masters, one worker.
#
# Change the addresses below to those of your machines (Debian 12 or later,
# reachable by SSH), then:
#
#   kinstall validate inventory.hcl     check this file
#   kinstall plan     inventory.hcl     see what would change on the machines
#   kinstall apply    inventory.hcl     change it
#
# docs/inventory.md describes every block and attribute.

cluster "my-cluster" {
  version = "1.36.3"

  # What every client dials: the load balancer below. A name is made known to
  # all machines through /etc/hosts.
  endpoint = "kubernetes.default.svc:8443"

  # Networks of pods and services. They must not overlap with your machines'.
  pod_cidr     = "10.244.0.0/16"
  service_cidr = "10.96.0.0/12"

  # Further names and addresses under which the API shall be reachable.
  # cert_sans = ["api.example.com"]
}

# How to reach the machines. Host keys are always verified.
ssh {
  user        = "root"
  key_file    = "~/.ssh/id_ed25519"
  known_hosts = "~/.ssh/known_hosts"

  # Log in as somebody else and use sudo:
  # user = "debian"

  # Through a jump host:
  # bastion {
  #   address = "gate.example.com"
  # }
}

# How pods on different machines reach each other: a route for each machine's
# part of pod_cidr. Choose "external" to bring a network of your own.
network "routes" {}

# nginx before all API servers.
load_balancer "nginx" {
  hosts = ["master-3"]
  port  = 8443
}

# Three members survive the loss of one machine.
host "master-1" {
  address = "192.0.2.11"
  roles   = ["etcd", "master"]
}

host "master-2" {
  address = "192.0.2.12"
  roles   = ["etcd", "master"]
}

host "master-3" {
  address = "192.0.2.13"
  roles   = ["etcd", "master"]
}

host "worker-1" {
  address = "192.0.2.21"
  roles   = ["worker"]

  # labels = { zone = "north" }
  # taints = ["dedicated=db:NoSchedule"]
}
