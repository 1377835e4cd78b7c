# Docker alone: hosts whose containers reach each other, without Kubernetes.
cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

runtime "docker" {
  package      = "docker-ce"
  log_max_size = "50m"
  live_restore = false
  settings     = { "default-ulimits" = { nofile = { Name = "nofile", Hard = 64000, Soft = 64000 } } }

  proxy {
    http     = "http://proxy.example.com:3128"
    no_proxy = [".example.com", "10.0.0.0/8"]
  }

  registry "docker.io" {
    mirrors = ["https://mirror.example.com", "http://10.9.0.1:5000"]
  }

  registry "registry.example.com:5000" {
    ca_file       = "ca.pem"
    username      = "robot$puller"
    password_file = "~/registry-password"
  }
}

host "one" {
  address    = "10.27.1.1"
  roles      = ["container"]
  pod_subnet = "10.1.10.0/24"
}

host "two" {
  address = "10.27.1.2"
  roles   = ["container"]
}
