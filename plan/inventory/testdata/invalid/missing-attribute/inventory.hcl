cluster "wuxia" {}

host "shaolin" {
  roles = ["etcd", "master"]
}

load_balancer "nginx" {}
