package provision

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/inventory"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/probe"
	"github.com/kinstall/kinstall/provision/release"
	"github.com/kinstall/kinstall/provision/shell"
)

// upload fetches a release to the operator's machine, sends it to the host and
// returns where it lies there. The host's own copy is verified by the script
// that uses it, see verifyScript.
func (t *task) upload(ctx context.Context, location, sha256 string) (local, remote string, err error) {
	local, err = t.executor.Releases.Fetch(ctx, location, sha256, t.transfer("fetching"))
	if err != nil {
		return "", "", err
	}
	file, err := os.Open(local)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", "", err
	}
	staging, err := t.machine.ssh().StagingDir(ctx)
	if err != nil {
		return "", "", err
	}
	// Two steps of one host may need the same file; each has its own copy.
	remote = path.Join(staging, resource.SHA256([]byte(t.item.Step.ID()))[:16]+"-"+path.Base(location))
	report := t.transfer("uploading")
	err = t.machine.ssh().Upload(ctx, file, info.Size(), remote, 0o600, func(sent int64) { report(sent, info.Size()) })
	return local, remote, err
}

// transferInterval lies between two reports of how far a transfer is: they come
// with every few kilobytes, and people read more slowly.
const transferInterval = 200 * time.Millisecond

// transfer returns a function that reports how far a transfer is, now and then
// and at its end. It must not be called concurrently.
func (t *task) transfer(doing string) func(done, total int64) {
	var last time.Time
	return func(done, total int64) {
		if now := time.Now(); done == total || now.Sub(last) >= transferInterval {
			last = now
			t.report(doing + " " + megabytes(done, total))
		}
	}
}

func megabytes(done, total int64) string {
	if total <= 0 {
		return fmt.Sprintf("%.1f MB", float64(done)/1e6)
	}
	return fmt.Sprintf("%.1f of %.1f MB", float64(done)/1e6, float64(total)/1e6)
}

// verifyScript refuses and removes an upload whose digest is wrong, and
// removes it in any case when the script ends.
func verifyScript(remote, sha256 string) string {
	return fmt.Sprintf(`upload=%[1]s new=
trap 'rm -f -- "$upload"; if [ -n "$tmp" ]; then rm -rf -- "$tmp"; fi; if [ -n "$new" ]; then rm -f -- "$new"; fi' EXIT
got=$(sha256sum < "$upload"); got=${got%%%% *}
if [ "$got" != %[2]s ]; then echo "the upload has SHA-256 $got, expected "%[2]s"; removed" >&2; exit 1; fi
`, shell.Quote(remote), shell.Quote(sha256))
}

// stageArtifact brings an artifact's file to the host, beside its place.
func (t *task) stageArtifact(ctx context.Context, a resource.Artifact) (remote string, err error) {
	ctx, cancel := t.limited(ctx)
	defer cancel()
	_, remote, err = t.upload(ctx, a.Location, a.SHA256)
	return remote, err
}

func applyArtifact(ctx context.Context, t *task, a resource.Artifact) (fact.Record, error) {
	remote := t.staged
	if remote == "" {
		var err error
		if remote, err = t.stageArtifact(ctx, a); err != nil {
			return fact.Record{}, err
		}
	}
	t.report("installing")
	var b strings.Builder
	b.WriteString(verifyScript(remote, a.SHA256))
	archive := len(a.Members) != 1 || a.Members[0].From != ""
	if archive {
		var members []string
		for _, m := range a.Members {
			members = append(members, m.From)
		}
		// Unpacked beside the upload, so that a full disk leaves nothing half
		// in place.
		b.WriteString("tmp=$(mktemp -d \"${upload%/*}/unpack.XXXXXXXX\")\n")
		fmt.Fprintf(&b, "tar -xf \"$upload\" -C \"$tmp\" --no-same-owner -- %s\nrm -f -- \"$upload\"\n", shell.Join(members...))
	}
	var paths []string
	for _, m := range a.Members {
		source := `"$upload"`
		if archive {
			source = `"$tmp"/` + shell.Quote(m.From)
		}
		paths = append(paths, m.To)
		dir := path.Dir(m.To)
		fmt.Fprintf(&b, "(umask 022; mkdir -p -- %[1]s)\nnew=$(mktemp %[2]s)\n", shell.Quote(dir), shell.Quote(dir+"/.kinstall.XXXXXXXX"))
		// Moved, as a rule within one file system, and not copied: a binary may
		// have a hundred megabytes.
		fmt.Fprintf(&b, "mv -fT -- %s \"$new\"\n", source)
		fmt.Fprintf(&b, "chown root:root \"$new\"; chmod %04o \"$new\"; sync -- \"$new\"; mv -fT -- \"$new\" %s\nnew=\n", m.Own().Mode, shell.Quote(m.To))
	}
	remember, err := probe.RecordDigests(paths)
	if err != nil {
		return fact.Record{}, err
	}
	b.WriteString(remember)
	printed, err := t.machine.output(ctx, t.label(), b.String())
	if err != nil {
		return fact.Record{}, err
	}
	files := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(printed), "\n") {
		digest, file, ok := strings.Cut(line, "  ")
		if ok {
			files[file] = digest
		}
	}
	for _, file := range paths {
		if files[file] == "" {
			return fact.Record{}, fmt.Errorf("the host told no digest of %s", file)
		}
	}
	return fact.Record{Digest: a.SHA256, Version: a.Version, Files: files}, nil
}

func applyImage(ctx context.Context, t *task, i resource.Image) (fact.Record, error) {
	local, remote, err := t.upload(ctx, i.Location, i.SHA256)
	if err != nil {
		return fact.Record{}, err
	}
	tags, err := release.ArchiveTags(local)
	if err != nil {
		return fact.Record{}, err
	}
	t.report("importing")
	const ctr = "ctr -n k8s.io images "
	var b strings.Builder
	b.WriteString(verifyScript(remote, i.SHA256))
	if i.Docker {
		if len(tags) == 0 {
			return fact.Record{}, fmt.Errorf("%s: %s: the archive names no image", t.machine.host.Name, t.label())
		}
		b.WriteString("docker load --quiet --input \"$upload\" >/dev/null\n")
		if !slices.Contains(tags, i.Reference) {
			b.WriteString("docker tag " + shell.Join(tags[0], i.Reference) + " >/dev/null\n")
		}
		b.WriteString("docker image inspect --format '{{.Id}}' -- " + shell.Quote(i.Reference) + "\n")
		return t.imported(ctx, b.String())
	}
	b.WriteString(ctr + "import --local \"$upload\" >/dev/null\n")
	if !slices.Contains(tags, i.Reference) {
		if len(tags) == 0 {
			return fact.Record{}, fmt.Errorf("the archive %s names no image", i.Location)
		}
		// Release archives carry the architecture in the name.
		b.WriteString(ctr + "tag --force " + shell.Join(tags[0], i.Reference) + " >/dev/null\n")
	}
	// Pinned: the kubelet's garbage collection must not remove what a host
	// without a registry can't fetch again.
	b.WriteString(ctr + "label " + shell.Quote(i.Reference) + " io.cri-containerd.pinned=pinned >/dev/null\n")
	b.WriteString(ctr + "ls | awk -v name=" + shell.Quote(i.Reference) + " '$1 == name { print $3 }'\n")
	return t.imported(ctx, b.String())
}

// imported runs a script that imports an image and prints what its name stands
// for then, and returns what is to be remembered of it.
func (t *task) imported(ctx context.Context, script string) (fact.Record, error) {
	record := t.item.Change.Record
	printed, err := t.machine.output(ctx, t.label(), script)
	record.Content = ""
	if digest := strings.TrimSpace(printed); strings.HasPrefix(digest, "sha256:") {
		record.Content = digest
	}
	return record, err
}

func removeImage(ctx context.Context, t *task, o resource.Orphan) error {
	// Only the name goes: containers that still run keep the content.
	if t.executor.Fleet.inventory.Runtime.Kind == inventory.RuntimeDocker {
		name := shell.Quote(o.Was.Name())
		return t.machine.script(ctx, t.label(), fmt.Sprintf(
			"if docker image inspect -- %[1]s >/dev/null 2>&1; then docker image rm --force --no-prune -- %[1]s >/dev/null; fi\n", name))
	}
	return t.machine.script(ctx, t.label(), "ctr -n k8s.io images remove "+shell.Quote(o.Was.Name())+" >/dev/null\n")
}
