cluster "wuxia" {
  version = "1.36.3
}

host shaolin
