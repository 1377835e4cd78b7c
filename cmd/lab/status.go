package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/e2e/lab"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "list the machines and what they are doing",
		UsageText: "lab status [-json]\n\n   lab status\n   lab status -json | jq -r '.machines[].name'",
		Description: `States: running; cut (running, its cable pulled); stopped. The uptime counts
from the machine's latest boot.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON document for programs"}},
		Action: func(c *cli.Context) error {
			l, err := open(c)
			if err != nil {
				return err
			}
			machines, err := l.Status()
			if err != nil {
				return err
			}
			holder, err := l.Holder()
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, l, holder, machines)
			}
			return printTable(c.App.Writer, l.Name(), holder, machines)
		},
	}
}

// statusDocument is what -json prints. Version grows when a field changes its
// meaning or goes.
type statusDocument struct {
	Version     int             `json:"version"`
	Name        string          `json:"name"`
	OperatorDir string          `json:"operator_dir"`
	Checkout    string          `json:"checkout,omitempty"`
	Inventory   string          `json:"inventory,omitempty"`
	Since       *time.Time      `json:"since,omitempty"`
	Machines    []machineStatus `json:"machines"`
}

type machineStatus struct {
	Name          string    `json:"name"`
	Address       string    `json:"address"`
	State         lab.State `json:"state"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	ConsoleLog    string    `json:"console_log"`
}

func printJSON(w io.Writer, l *lab.Lab, holder lab.Owner, machines []lab.Status) error {
	doc := statusDocument{
		Version: 1, Name: l.Name(), OperatorDir: l.OperatorDir(),
		Checkout: holder.Checkout, Inventory: holder.Inventory, Machines: []machineStatus{},
	}
	if !holder.Since.IsZero() {
		doc.Since = &holder.Since
	}
	for _, m := range machines {
		doc.Machines = append(doc.Machines, machineStatus{
			m.Name, m.Address.String(), m.State, int64(m.Uptime / time.Second), m.Console,
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func printTable(w io.Writer, name string, holder lab.Owner, machines []lab.Status) error {
	if len(machines) == 0 {
		_, err := fmt.Fprintf(w, "lab %s has no machines\n", name)
		return err
	}
	if holder.Inventory != "" {
		fmt.Fprintf(w, "lab %s, up for %s since %s\n", name, holder.Inventory, holder.Since.Local().Format("2006-01-02 15:04:05"))
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tADDRESS\tSTATE\tUPTIME")
	for _, m := range machines {
		uptime := "-"
		if m.State != lab.Stopped {
			uptime = m.Uptime.Truncate(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, m.Address, m.State, uptime)
	}
	return t.Flush()
}
