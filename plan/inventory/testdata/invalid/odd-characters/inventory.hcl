cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

kubelet {
  settings = {
    evictionHard        = { "memory.available" = "200\u0092Mi" }
    "max\u202ePods"     = 1
    allowedUnsafeSysctls = ["net.\uFFFE*", "kernel.\u0000"]
  }
}

kube_proxy {
  settings = { bindAddress = "a\uFFFEb" }
}

api_server {
  args = { audit-log-path = "/var/log/\u2028x", feature-gates = "\u2066A=true" }
}

preparation {
  sysctls = { "kernel.panic" = "10\u00a0", "kernel.domainname" = " x" }
}

ssh {
  known_hosts = "known\u202ehosts"
}
