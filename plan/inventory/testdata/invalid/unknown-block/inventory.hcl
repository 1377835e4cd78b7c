cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

hots "emei" {
  address = "10.0.0.2"
}

database {}

network "routes" {
  bastion {}
}

kubelet {
  settings {
    maxPods = 10
  }
}
