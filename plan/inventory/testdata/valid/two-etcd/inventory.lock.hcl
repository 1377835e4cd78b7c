# Written by kinstall apply; commit it.
#
# What has been decided and shall stay so when hosts come and go: each node's
# part of the pod network, and the digests of the artifacts in use.

subnets = {
  "shaolin" = "10.244.0.0/24"
}

artifacts = {
  "github.com/x/y" = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
}
