cluster "c" {}

network "flannel" {}

host "b" {
  address = "10.27.1.2"
  roles   = ["container"]
}
