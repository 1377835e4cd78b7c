# Docker alone, its containers joined by tunnels of a switch that runs in
# userspace.

cluster "tunnels" {
  pod_cidr = "10.1.0.0/16"
}

ssh {
  key_file    = "/lab/id_ed25519"
  known_hosts = "/lab/known_hosts"
}

runtime "docker" {
  cgroup_driver = "cgroupfs"
}

network "openvswitch" {
  tunnel   = "gre"
  datapath = "userspace"
}

host "taishan" {
  address        = "10.90.0.11"
  roles          = ["container"]
  pod_subnet     = "10.1.10.0/24"
  tunnel_address = "10.92.0.11/24"
}

host "heng" {
  address        = "10.90.0.12"
  roles          = ["container"]
  tunnel_address = "10.92.0.12/24"
}

host "songshan" {
  address        = "10.90.0.13"
  roles          = ["container"]
  tunnel_address = "10.92.0.13/24"
}
