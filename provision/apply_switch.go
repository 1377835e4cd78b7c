package provision

import (
	"context"
	"fmt"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// applySwitch runs the script that makes all switches of a host as they should
// be and leaves alone what is right.
func applySwitch(ctx context.Context, t *task, s resource.Switch) (fact.Record, error) {
	return t.item.Change.Record, t.machine.script(ctx, t.label(), shell.Quote(s.Script)+"\n")
}

func removeSwitch(ctx context.Context, t *task, o resource.Orphan) error {
	// The database remembers it over reboots: without Open vSwitch there is none.
	return t.machine.script(ctx, t.label(), fmt.Sprintf(
		"if command -v ovs-vsctl >/dev/null; then ovs-vsctl -t 30 --if-exists del-br %s; fi\n", shell.Quote(o.Was.Name())))
}
