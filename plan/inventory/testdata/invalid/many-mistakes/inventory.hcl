cluster "c" {
  version = "1.36.3"
}

host "a" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}

host "H0" {
  address = "10.1.1.1"
  roles   = ["worker"]
}

host "H1" {
  address = "10.1.1.2"
  roles   = ["worker"]
}

host "H2" {
  address = "10.1.1.3"
  roles   = ["worker"]
}

host "H3" {
  address = "10.1.1.4"
  roles   = ["worker"]
}

host "H4" {
  address = "10.1.1.5"
  roles   = ["worker"]
}

host "H5" {
  address = "10.1.1.6"
  roles   = ["worker"]
}

host "H6" {
  address = "10.1.1.7"
  roles   = ["worker"]
}

host "H7" {
  address = "10.1.1.8"
  roles   = ["worker"]
}

host "H8" {
  address = "10.1.1.9"
  roles   = ["worker"]
}

host "H9" {
  address = "10.1.1.10"
  roles   = ["worker"]
}

host "H10" {
  address = "10.1.1.11"
  roles   = ["worker"]
}

host "H11" {
  address = "10.1.1.12"
  roles   = ["worker"]
}

host "H12" {
  address = "10.1.1.13"
  roles   = ["worker"]
}

host "H13" {
  address = "10.1.1.14"
  roles   = ["worker"]
}

host "H14" {
  address = "10.1.1.15"
  roles   = ["worker"]
}

host "H15" {
  address = "10.1.1.16"
  roles   = ["worker"]
}

host "H16" {
  address = "10.1.1.17"
  roles   = ["worker"]
}

host "H17" {
  address = "10.1.1.18"
  roles   = ["worker"]
}

host "H18" {
  address = "10.1.1.19"
  roles   = ["worker"]
}

host "H19" {
  address = "10.1.1.20"
  roles   = ["worker"]
}

host "H20" {
  address = "10.1.1.21"
  roles   = ["worker"]
}

host "H21" {
  address = "10.1.1.22"
  roles   = ["worker"]
}

host "H22" {
  address = "10.1.1.23"
  roles   = ["worker"]
}

host "H23" {
  address = "10.1.1.24"
  roles   = ["worker"]
}

host "H24" {
  address = "10.1.1.25"
  roles   = ["worker"]
}

host "H25" {
  address = "10.1.1.26"
  roles   = ["worker"]
}

host "H26" {
  address = "10.1.1.27"
  roles   = ["worker"]
}

host "H27" {
  address = "10.1.1.28"
  roles   = ["worker"]
}

host "H28" {
  address = "10.1.1.29"
  roles   = ["worker"]
}

host "H29" {
  address = "10.1.1.30"
  roles   = ["worker"]
}

host "H30" {
  address = "10.1.1.31"
  roles   = ["worker"]
}

host "H31" {
  address = "10.1.1.32"
  roles   = ["worker"]
}

host "H32" {
  address = "10.1.1.33"
  roles   = ["worker"]
}

host "H33" {
  address = "10.1.1.34"
  roles   = ["worker"]
}

host "H34" {
  address = "10.1.1.35"
  roles   = ["worker"]
}

host "H35" {
  address = "10.1.1.36"
  roles   = ["worker"]
}

host "H36" {
  address = "10.1.1.37"
  roles   = ["worker"]
}

host "H37" {
  address = "10.1.1.38"
  roles   = ["worker"]
}

host "H38" {
  address = "10.1.1.39"
  roles   = ["worker"]
}

host "H39" {
  address = "10.1.1.40"
  roles   = ["worker"]
}

host "H40" {
  address = "10.1.1.41"
  roles   = ["worker"]
}

host "H41" {
  address = "10.1.1.42"
  roles   = ["worker"]
}

host "H42" {
  address = "10.1.1.43"
  roles   = ["worker"]
}

host "H43" {
  address = "10.1.1.44"
  roles   = ["worker"]
}

host "H44" {
  address = "10.1.1.45"
  roles   = ["worker"]
}

host "H45" {
  address = "10.1.1.46"
  roles   = ["worker"]
}

host "H46" {
  address = "10.1.1.47"
  roles   = ["worker"]
}

host "H47" {
  address = "10.1.1.48"
  roles   = ["worker"]
}

host "H48" {
  address = "10.1.1.49"
  roles   = ["worker"]
}

host "H49" {
  address = "10.1.1.50"
  roles   = ["worker"]
}

host "H50" {
  address = "10.1.1.51"
  roles   = ["worker"]
}

host "H51" {
  address = "10.1.1.52"
  roles   = ["worker"]
}

host "H52" {
  address = "10.1.1.53"
  roles   = ["worker"]
}

host "H53" {
  address = "10.1.1.54"
  roles   = ["worker"]
}

host "H54" {
  address = "10.1.1.55"
  roles   = ["worker"]
}

host "H55" {
  address = "10.1.1.56"
  roles   = ["worker"]
}

host "H56" {
  address = "10.1.1.57"
  roles   = ["worker"]
}

host "H57" {
  address = "10.1.1.58"
  roles   = ["worker"]
}

host "H58" {
  address = "10.1.1.59"
  roles   = ["worker"]
}

host "H59" {
  address = "10.1.1.60"
  roles   = ["worker"]
}
