# Docker alone: containers of three hosts reach each other by their addresses.
cluster "redis" {
  pod_cidr = "10.1.0.0/16"
}

network "routes" {
  mtu = 1450
}

runtime "docker" {
  settings = {
    debug      = true
    "log-opts" = { tag = "{{.Name}}" }
  }

  proxy {
    https    = "http://proxy.example.com:3128"
    no_proxy = [".example.com"]
  }

  registry "docker.io" {
    mirrors = ["https://mirror.example.com"]
  }

  registry "registry.example.com:5000" {
    ca_file       = "ca.pem"
    username      = "puller"
    password_file = "password"
  }
}

artifacts {
  images = { "registry.example.com/redis:7" = "images/redis.tar" }
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

host "three" {
  address = "10.27.1.3"
  roles   = ["container"]
}
