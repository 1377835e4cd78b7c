cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

controller_manager {
  args = { secure-port = 1, authorization-always-allow-paths = "/x" }
}

scheduler {
  args = { config = "/x", secure-port = 1 }
}

etcd {
  args = { config-file = "/x", listen-metrics-urls = "http://127.0.0.1:1", wal-dir = "/usr" }
}
