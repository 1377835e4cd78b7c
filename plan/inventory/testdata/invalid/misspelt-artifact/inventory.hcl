cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

artifacts {
  images = { "registry.example/app:1" = "app.tar" }
  sha256 = {
    kublet                         = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
    "image/registry.example/app:1" = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
    "image/registry.example/app:2" = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
    curl                           = "4d6ac1c2b5ff2fbd64c3d1a7f8fc87e9b1d9a3e9bf3a2d5a3f29cbbd0f37bb7c"
  }
}
