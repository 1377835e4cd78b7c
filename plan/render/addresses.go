package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/kinstall/kinstall/plan"
)

// Addresses prints the address plan as a table: host, address, pod subnet,
// address of the bridge, number of routes; with dual-stack those of IPv6 behind
// them. A value that a host does not have is shown as "-".
func Addresses(w io.Writer, p *plan.Plan) error {
	dual := p.Inventory.DualStack()
	rows := [][]string{{"HOST", "ADDRESS", "POD SUBNET", "BRIDGE", "ROUTES"}}
	if dual {
		rows[0] = append(rows[0], "IPV6 ADDRESS", "IPV6 POD SUBNET", "IPV6 BRIDGE")
	}
	for _, a := range p.Addresses {
		row := []string{a.Host, a.Address, a.PodSubnet, a.Bridge, fmt.Sprint(a.Routes)}
		if dual {
			row = append(row, a.AddressV6, a.PodSubnetV6, a.BridgeV6)
		}
		for i := range row {
			if row[i] == "" {
				row[i] = "-"
			}
			row[i] = Clean(row[i])
		}
		rows = append(rows, row)
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], columns(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + spaces(widths[i]-columns(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
