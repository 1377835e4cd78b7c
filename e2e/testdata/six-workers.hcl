# Makes ten hosts of the end-to-end cluster's four.

host "worker" {
  count   = 6
  name    = "worker-${count.index}"
  address = cidrhost("10.88.0.0/24", 31 + count.index)
  roles   = ["worker"]
}
