# Written by kinstall apply; commit it.
#
# What has been decided and shall stay so when hosts come and go: each node's
# part of the pod network, and the digests of the artifacts in use.

subnets = {
  "emei.x" = "10.244.2.0/24"
  "for"    = "10.244.0.0/24"
  "wudang" = "10.244.1.0/24"
}

artifacts = {
  "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet" = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
}
