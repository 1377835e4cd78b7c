cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

dns {
  upstreams = [
    "fe80::1%x\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding",
    "[fe80::1%eth0]:53",
    "127.0.0.53",
    "[::1]:53",
    "::ffff:10.0.0.1",
    "fe80::1",
    "10.0.0.1 { }",
  ]
}
