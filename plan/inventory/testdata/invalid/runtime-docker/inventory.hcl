cluster "c" {}

runtime "docker" {
  version      = "19.3.15"
  runc_version = "1.1.5"
  package      = "docker.io=20.10"
  log_max_size = "10 MB"
  settings = {
    bip         = "10.1.10.1/24"
    debug       = true
    "exec-opts" = ["native.cgroupdriver=systemd"]
  }

  proxy {}

  registry "docker.io" {
    mirrors = ["https://mirror.example.com/hub"]
  }

  registry "quay.io" {
    mirrors  = ["https://mirror.example.com"]
    username = "me"
  }

  registry "quay.io" {}

  registry "https://registry.example.com/" {
    mirrors = ["https://user:secret@mirror.example.com", "ftp://mirror", "https://m?x=1"]
  }
}

host "a" {
  address = "10.27.1.1"
  roles   = ["container"]
}
