package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/hcl/v2"

	"github.com/kinstall/kinstall/e2e/lab"
	"github.com/kinstall/kinstall/plan/inventory"
)

// machines reads from an inventory what the lab needs of it: the name and the
// address of each host, and whether it has a second one for tunnels. Variables
// are those a command under "lab exec" sees.
func machines(l *lab.Lab, path string) ([]lab.Machine, error) {
	files := map[string]*hcl.File{}
	inv, _, diags := inventory.Load(path, inventory.Options{
		Env:   append(os.Environ(), "KINSTALL_VAR_lab="+l.OperatorDir(), "KINSTALL_VAR_mirror="+l.MirrorDir()),
		Files: files,
	})
	if diags.HasErrors() {
		return nil, fmt.Errorf("read %s: %w (kinstall validate shows all of it)", path, diags)
	}
	var found []lab.Machine
	for _, host := range inv.Hosts {
		found = append(found, lab.Machine{Name: host.Name, Address: host.Address, AddressV6: host.AddressV6, SecondCable: host.TunnelAddress.IsValid()})
	}
	return found, nil
}
