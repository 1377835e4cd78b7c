package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/kinstall/kinstall/plan/inventory"
)

func (a *app) approveCommand() *cli.Command {
	return &cli.Command{
		Name: "approve", ArgsUsage: "FILE",
		Usage: "decide on kubelets' requests for certificates to serve with",
		Description: `
Approve of the requests of kubelets for certificates to serve with, as apply
does: of those whose user, groups, names and addresses fit the inventory. Others
of its nodes are refused, and named; what else asks is left alone. Nothing else
is changed, so that a timer can run it (docs/joining.md). The cluster is reached
through the masters.`,
		UsageText: `
  kinstall approve lab.hcl`,
		Flags: joined([]cli.Flag{
			&cli.BoolFlag{Name: "trust-on-first-use", Usage: "accept the key of a host that is not in known_hosts yet, and write it down there"},
		}, secretFlags(), variableFlags()),
		Action: a.approve,
	}
}

func (a *app) approve(c *cli.Context) error {
	ctx := c.Context
	inv, lock, err := a.load(c)
	if err != nil {
		return err
	}
	if inv.Kubelet.ServingCertificates != inventory.CertificatesRequested || !inv.Kubernetes() {
		return usageError(fmt.Sprintf("set serving_certificates = %q in the kubelet block, and apply", inventory.CertificatesRequested), "kubelets of %s don't ask for certificates to serve with", inv.Path)
	}
	prepared, diags, err := a.backend.prepare(ctx, inv, lock, a.passphrase(c))
	if err != nil {
		return err
	}
	if err := a.diagnose(c, nil, diags); err != nil {
		return err
	}
	var masters []string
	for _, h := range inv.With(inventory.RoleMaster) {
		masters = append(masters, h.Name)
	}
	leave := a.enter(remote)
	fleet := prepared.connect(connectOptions{TrustOnFirstUse: c.Bool("trust-on-first-use"), Fault: a.fault, Log: a.say})
	defer func() { _ = fleet.Close(); leave() }()
	if err := fleet.CheckAccess(ctx, masters); err != nil {
		return fmt.Errorf("no host was connected to: %w", err)
	}
	decisions, err := fleet.ApproveRequests(ctx, prepared.plan)
	refused := 0
	for _, d := range decisions {
		fmt.Fprintln(a.out, d)
		if len(d.Misfits) > 0 {
			refused++
		}
	}
	switch {
	case err != nil:
		return orInterrupted(ctx, err)
	case refused > 0:
		return fmt.Errorf("%s refused", plural(refused, "request"))
	case len(decisions) == 0:
		fmt.Fprintln(a.out, "No request waits for a decision.")
	}
	return nil
}
