cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

api_server {
  args = {
    "--v"               = 2
    audit_log_path      = "/x"
    "feature-gates=A"   = true
    "profiling"         = "a\nb"
  }
}
