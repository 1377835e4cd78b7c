# What nodes need on machines that share a sandbox's kernel.

kubelet {
  settings = {
    failCgroupV1 = false
    cgroupDriver = "cgroupfs"
    failSwapOn   = false
    # The disk is the host's, and how full that is says nothing about a machine:
    # with less than 15 % free, nodes would evict their pods.
    evictionHard = {
      "imagefs.available" = "0%"
      "memory.available"  = "100Mi"
      "nodefs.available"  = "0%"
      "nodefs.inodesFree" = "0%"
    }
    imageGCHighThresholdPercent = 100
  }
}

kube_proxy {
  settings = {
    conntrack = {
      maxPerCore            = 0
      min                   = 0
      tcpEstablishedTimeout = "0s"
      tcpCloseWaitTimeout   = "0s"
    }
  }
}
