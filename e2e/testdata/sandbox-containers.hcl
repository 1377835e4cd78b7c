# What containers need on machines that share a sandbox's kernel.

runtime "containerd" {
  runc_version = "1.1.5"
  # A machine in a sandbox may not lower oom_score_adj.
  settings = {
    plugins = { "io.containerd.cri.v1.runtime" = { restrict_oom_score_adj = true } }
  }
}
