package inventory

import _ "embed"

//go:embed starter.hcl
var starter string

// Starter returns a commented inventory for `kinstall init`. It validates as
// it is; its addresses are to be replaced.
func Starter() []byte { return []byte(starter) }
