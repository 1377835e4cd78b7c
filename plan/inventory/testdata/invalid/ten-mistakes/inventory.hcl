# Ten mistakes at once.

cluster "Wuxia" {
  version      = "1.12.0"
  endpoint     = "10.0.0.200:8443"
  pod_cidr     = "10.96.0.0/16"
  service_cidr = "10.96.0.0/12"
  domian       = "wuxia.local"
}

ssh {
  port = "twenty-two"
}

load_balancer "nginx" {
  hosts = ["emei", "kunlun"]
  port  = 8443
}

api_server {
  args = { "etcd-servers" = "https://10.0.0.1:2379" }
}

kubelet {
  settings = { maxPod = 200 }
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

host "wudang" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
  taints  = ["a=b:NoShedule"]
}

host "emei" {
  address = "10.0.0.3"
  roles   = ["worker"]
  labels  = { zone = var.zone }
}
