package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

func applyFile(ctx context.Context, t *task, f resource.File) (fact.Record, error) {
	return t.item.Change.Record, t.machine.writeFile(ctx, fileWrite{
		label: t.label(), path: f.Path, content: f.Content, own: f.Own(), before: t.item.Change.Evidence, test: f.Test,
	})
}

func applyDirectory(ctx context.Context, t *task, d resource.Directory) (fact.Record, error) {
	own, dir := d.Own(), shell.Quote(d.Path)
	script := fmt.Sprintf("(umask 022; mkdir -p -- %[1]s)\nchown -- %[2]s %[1]s\nchmod -- %04[3]o %[1]s\n", dir, shell.Quote(own.Owner+":"+own.Group), own.Mode)
	if d.Unit != "" {
		script = handOverScript(d)
	}
	return t.item.Change.Record, t.machine.script(ctx, t.label(), script)
}

// handOverScript gives a program's directory, with all that is in it, to the user
// that the program runs as. One that runs as another user is stopped: it would go
// on making files of its own. The directory itself comes last, so that one which
// belongs to the user is known to do so with all that is in it.
func handOverScript(d resource.Directory) string {
	own := d.Own()
	return fmt.Sprintf(`dir=%[1]s user=%[2]s group=%[3]s unit=%[4]s
getent group "$group" >/dev/null || groupadd --system "$group"
getent passwd "$user" >/dev/null || useradd --system --gid "$group" --home-dir "$dir" --no-create-home --shell /usr/sbin/nologin "$user"
case $(systemctl show --property ActiveState --value -- "$unit") in
active)
	pid=$(systemctl show --property MainPID --value -- "$unit")
	if [ "$(stat -c %%U -- "/proc/$pid")" != "$user" ]; then systemctl stop -- "$unit"; fi ;;
activating|reloading|deactivating) systemctl stop -- "$unit" ;;
esac
(umask 022; mkdir -p -- "$dir")
find "$dir" -mindepth 1 ! \( -user "$user" -group "$group" \) -exec chown -h -- "$user:$group" {} +
chown -- "$user:$group" "$dir"
chmod -- %04[5]o "$dir"
`, shell.Quote(d.Path), shell.Quote(own.Owner), shell.Quote(own.Group), shell.Quote(d.Unit), own.Mode)
}

func applyBlock(ctx context.Context, t *task, b resource.Block) (fact.Record, error) {
	if t.item.Change.Text == nil {
		return fact.Record{}, fmt.Errorf("%s: no text planned", t.label())
	}
	return t.item.Change.Record, t.machine.writeFile(ctx, fileWrite{
		label: t.label(), path: b.Path, content: []byte(t.item.Change.Text.After), before: t.item.Change.Evidence, likeBefore: true,
	})
}

func applyAuthorityFile(ctx context.Context, t *task, f resource.AuthorityFile) (fact.Record, error) {
	content, err := t.executor.Authorities.Bytes(f.Authority, f.Part)
	if err != nil {
		return fact.Record{}, err
	}
	own := f.Own()
	record := fact.Record{Digest: fmt.Sprintf("%04o %s:%s", own.Mode, own.Owner, own.Group), Files: map[string]string{f.Path: resource.SHA256(content)}}
	return record, t.machine.writeFile(ctx, fileWrite{
		label: t.label(), path: f.Path, content: content, own: own, before: t.item.Change.Evidence,
	})
}

func applyCertificate(ctx context.Context, t *task, c resource.Certificate) (fact.Record, error) {
	if t.item.Change.Action == resource.Update { // only modes and owners
		own, keyOwn := c.Own(), c.KeyOwn()
		return t.item.Change.Record, t.machine.script(ctx, t.label(), fmt.Sprintf(
			"chown -- %[1]s %[2]s\nchmod -- %04[3]o %[2]s\nchown -- %[4]s %[5]s\nchmod -- %04[6]o %[5]s\n",
			shell.Quote(own.Owner+":"+own.Group), shell.Quote(c.Path), own.Mode,
			shell.Quote(keyOwn.Owner+":"+keyOwn.Group), shell.Quote(c.KeyPath), keyOwn.Mode))
	}
	certificate, key, err := t.executor.Authorities.Issue(ctx, c)
	if err != nil {
		return fact.Record{}, err
	}
	// The key goes first: a crash in between leaves a certificate that does not
	// fit its key, which the host's record (still without this certificate)
	// gives away, never a new certificate taken for whole.
	err = t.machine.writeFiles(ctx, t.label(),
		fileWrite{path: c.KeyPath, content: key, own: c.KeyOwn(), anyBefore: true},
		fileWrite{path: c.Path, content: certificate, own: c.Own(), before: t.item.Change.Evidence})
	own := c.KeyOwn()
	return fact.Record{
		Digest: fmt.Sprintf("%04o %s:%s", own.Mode, own.Owner, own.Group),
		Files:  map[string]string{c.Path: resource.SHA256(certificate), c.KeyPath: resource.SHA256(key)},
	}, err
}

// inputDigests returns the digest each input has now that all of them are as
// desired: known from the start, or recorded when it was applied.
func (t *task) inputDigests(inputs []resource.Input) (map[string]string, error) {
	digests := map[string]string{}
	var missing []error
	for _, input := range inputs {
		id := input.ID()
		if digest, known := input.InputDigest(t.executor.facts(t.item.Step.Host)); known {
			digests[string(id)] = digest
			continue
		}
		digest, ok := t.executor.latest(t.item.Step.Host, id).Files[id.Name()]
		if !ok {
			missing = append(missing, fmt.Errorf("%s: its input %s was not applied", t.label(), id))
			continue
		}
		digests[string(id)] = digest
	}
	return digests, errors.Join(missing...)
}

func applyStaticPod(ctx context.Context, t *task, p resource.StaticPod) (fact.Record, error) {
	digests, err := t.inputDigests(p.Inputs)
	if err != nil {
		return fact.Record{}, err
	}
	content := []byte(p.RenderWith(digests))
	own := p.Own()
	record := fact.Record{
		Digest: fmt.Sprintf("%04o %s:%s", own.Mode, own.Owner, own.Group),
		Files:  map[string]string{p.Path: resource.SHA256(content)},
	}
	return record, t.machine.writeFile(ctx, fileWrite{
		label: t.label(), path: p.Path, content: content, own: own, before: t.item.Change.Evidence,
		first: oldPod(p, ""), then: renewPod(p),
	})
}

// removeFiles removes what the record says belongs to the resource.
func removeFiles(ctx context.Context, t *task, o resource.Orphan) error {
	paths := slices.Sorted(maps.Keys(o.Record.Files))
	if len(paths) == 0 {
		paths = []string{o.Was.Name()}
	}
	return t.machine.script(ctx, t.label(), "rm -f -- "+shell.Join(paths...)+"\n")
}

func removeBlock(ctx context.Context, t *task, o resource.Orphan) error {
	file, name, _ := strings.Cut(o.Was.Name(), "#")
	block := resource.Block{Path: file, Name: name}
	facts, _, err := t.machine.ask(ctx, block.Queries())
	if err != nil {
		return err
	}
	found, err := facts.File(file)
	if err != nil || !found.Exists {
		return err
	}
	content, err := block.Splice(string(found.Content))
	if err != nil || content == string(found.Content) {
		return err
	}
	return t.machine.writeFile(ctx, fileWrite{
		label: t.label(), path: file, content: []byte(content), before: found.SHA256, likeBefore: true,
	})
}
