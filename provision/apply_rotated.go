package provision

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// currentPair ends the name of the link to a kubelet's certificate and key; the
// files that it leads to differ in what stands instead of "current".
const currentPair = "current.pem"

// firstPair is the file beside the link that kinstall writes; kubelets name theirs
// by the time.
func firstPair(link string) string { return strings.TrimSuffix(link, currentPair) + "first.pem" }

// applyRotatedCertificate brings the first certificate, or another one when the
// kubelet failed to renew its own.
func applyRotatedCertificate(ctx context.Context, t *task, c resource.RotatedCertificate) (fact.Record, error) {
	link, file := c.Wanted.Path, firstPair(c.Wanted.Path)
	write := fileWrite{label: t.label(), path: file, own: resource.Ownership{Owner: "root", Group: "root", Mode: 0o600}, anyBefore: true, then: leadTo(link, file)}
	change, restart := t.item.Change, ""
	if len(change.Reasons) > 0 { // else it has never run, or takes its turn
		restart = fmt.Sprintf("if systemctl is-active --quiet -- %[1]s; then systemctl restart -- %[1]s; fi\n", shell.Quote(c.Unit))
	}
	if change.Action == resource.Create && change.Evidence != "" {
		return change.Record, t.machine.write(ctx, command(write.label, scriptHeader+takeOver(write, c.Takes, change.Evidence)))
	}
	switch {
	case c.Requested && change.Action == resource.Deferred: // the kubelet asks when it runs, after its turn
		return change.Record, nil
	case c.Requested:
		return change.Record, t.machine.script(ctx, t.label(), "rm -f -- "+shell.Quote(c.Wanted.Path)+"\n"+restart)
	}
	if c.Join != nil {
		return change.Record, letJoin(ctx, t, c, restart)
	}
	write.then += restart
	certificate, key, err := t.executor.Authorities.Issue(ctx, c.Wanted)
	if err != nil {
		return fact.Record{}, err
	}
	write.content = append(certificate, key...)
	return change.Record, t.machine.writeFile(ctx, write)
}

// takeOver is a script that makes the pair of the certificate and key that the
// node has already: the key does not leave the host.
func takeOver(write fileWrite, taken resource.Certificate, evidence string) string {
	return guardScript(taken.Path, evidence) + fmt.Sprintf("tmp=$(mktemp %s)\ncat -- %s > \"$tmp\"\nsync -- \"$tmp\"; mv -fT -- \"$tmp\" %s\ntmp=\n",
		shell.Quote(temporaryFor(write.path)), shell.Join(taken.Path, taken.KeyPath), shell.Quote(write.path)) + write.then
}

// leadTo sets a link anew, at once.
func leadTo(link, file string) string {
	return fmt.Sprintf("ln -sfn -- %[1]s %[2]s\nmv -fT -- %[2]s %[3]s\nsync -- %[4]s\n",
		shell.Quote(file), shell.Quote(link+".kinstall"), shell.Quote(link), shell.Quote(path.Dir(link)))
}

// removeRotatedCertificate removes the link and whatever it has led to: kubelets
// keep what they had before.
func removeRotatedCertificate(ctx context.Context, t *task, o resource.Orphan) error {
	link := o.Was.Name()
	return t.machine.script(ctx, t.label(), fmt.Sprintf("rm -f -- %s %s[0-9]*.pem\n", shell.Join(link, firstPair(link)), shell.Quote(strings.TrimSuffix(link, currentPair))))
}
