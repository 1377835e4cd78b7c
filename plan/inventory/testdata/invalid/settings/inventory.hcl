cluster "wuxia" {
  version = "1.36.3"
}

host "shaolin" {
  address = "10.0.0.1"
  roles   = ["etcd", "master"]
}

kubelet {
  settings = {
    maxPod     = 200
    failSwapOn = "no"
    memorySwap = { swapBehaviour = "x" }
    clusterDNS = ["10.0.0.1"]
    evictionHard = { "memory.available" = 100 }
    syncFrequency = "soon"
    shutdownGracePeriodByPodPriority = [{ priority = 1, seconds = 10 }]
  }
}

kube_proxy {
  settings = {
    mode      = "ipvs"
    conntrack = { maxPerCore = "many" }
  }
}

runtime "containerd" {
  settings = { version = 2 }
}
