cluster "c" {
  version   = "1.36.3"
  hardening = "ciss"

  feature_gates = { "all,beta" = true, AllAlpha = "maybe" }
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

api_server {
  args = {
    token-auth-file           = "/etc/kubernetes/pki/tokens.csv"
    authorization-policy-file = "/etc/kubernetes/pki/abac.json"
  }
}

audit {
  policy_file = 7
  log_path    = "/var/log/audit.log"
  max_age     = 0
}

admission {
  enable  = ["AlwaysAdmit", "always-pull"]
  disable = ["NodeRestriction"]

  pod_security {
    enforce           = "base"
    exempt_namespaces = ["a b"]
  }
}
