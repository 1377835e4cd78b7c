cluster "c" {
  version = "1.36.3"
}
# café
