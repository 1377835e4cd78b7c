package provision

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision/shell"
)

// backupPath is where a host keeps what turns replaced, each file below it at
// its own path: one generation, the last that is known to have served.
const backupPath = "/var/lib/kinstall/backup"

// keep copies the files a turn is about to replace to their places below
// backupPath, with owner, mode and times, after all of them have been found to
// be as planned for; else the error is ErrStale and nothing was changed.
func (m *machine) keep(ctx context.Context, files []plan.KeptFile) error {
	if len(files) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString(scriptHeader)
	for _, file := range files {
		if !isBinary(file) { // to hash those takes a while, and their digests were trusted before
			b.WriteString(guardScript(file.Path, file.Found))
		}
	}
	for _, file := range files {
		b.WriteString(keepScript(file))
	}
	return m.write(ctx, command("keep what is replaced", b.String()))
}

// putBack puts a turn's files back, between two further scripts.
func (m *machine) putBack(ctx context.Context, files []plan.KeptFile, first, then string) error {
	var b strings.Builder
	b.WriteString(first)
	for _, file := range files {
		b.WriteString(restoreScript(file))
	}
	return m.script(ctx, "put back "+pathsOf(files), b.String()+then)
}

// forget removes the copies of secrets that are not needed any more.
func (m *machine) forget(ctx context.Context, files []plan.KeptFile) error {
	var secrets []string
	for _, file := range files {
		if file.Secret {
			secrets = append(secrets, backupPath+file.Path)
		}
	}
	if len(secrets) == 0 {
		return nil
	}
	return m.script(ctx, "remove the copies of previous keys", "rm -f -- "+shell.Join(secrets...)+"\n")
}

// isBinary tells what is large, and replaced by a rename only.
func isBinary(file plan.KeptFile) bool {
	return file.Step.Kind() == "artifact"
}

func pathsOf(files []plan.KeptFile) string {
	var paths []string
	for _, file := range files {
		paths = append(paths, file.Path)
	}
	slices.Sort(paths)
	const most = 4
	if n := len(paths); n > most {
		return fmt.Sprintf("%s and %d more files", strings.Join(paths[:most], ", "), n-most)
	}
	return strings.Join(paths, ", ")
}

// keepScript copies one file, unless there is a copy that served, and the file
// has not: it was written by a run that ended before it was seen to work.
func keepScript(file plan.KeptFile) string {
	copied := backupPath + file.Path
	how := "cp -fp -- " + shell.Quote(file.Path) + ` "$copied.new"`
	if isBinary(file) {
		// Another name for the same file costs nothing where both lie on one file system.
		how = "rm -f -- \"$copied.new\"; ln -- " + shell.Quote(file.Path) + ` "$copied.new" 2>/dev/null || ` + how
	}
	return fmt.Sprintf(`copied=%[1]s kept=
if [ -e "$copied" ]; then kept=$(sha256sum < "$copied"); kept=${kept%%%% *}; fi
if [ -e %[2]s ] && { [ -z "$kept" ] || [ "$kept" != %[3]s ]; }; then
	mkdir -p -m 0700 -- %[4]s
	mkdir -p -- %[5]s
	%[6]s
	sync -- "$copied.new"
	mv -fT -- "$copied.new" "$copied"
fi
`, shell.Quote(copied), shell.Quote(file.Path), shell.Quote(file.Served), shell.Quote(backupPath), shell.Quote(path.Dir(copied)), how)
}

// restoreScript puts a file back as it served last, or else as the turn found
// it; if it was not there, it goes again.
func restoreScript(file plan.KeptFile) string {
	return fmt.Sprintf(`copied=%[1]s kept=
if [ -e "$copied" ]; then kept=$(sha256sum < "$copied"); kept=${kept%%%% *}; fi
now=
if [ -f %[5]s ]; then now=$(sha256sum < %[5]s); now=${now%%%% *}; fi
if [ -n "$kept" ] && { [ "$kept" = %[2]s ] || [ "$kept" = %[3]s ]; }; then
	tmp=$(mktemp %[4]s)
	cp -fp -- "$copied" "$tmp"
	sync -- "$tmp"; mv -fT -- "$tmp" %[5]s; sync -- %[6]s
	tmp=
elif [ -n "$now" ] && [ "$now" = %[2]s ]; then
	: # it is what served last, and the copy is of a version before
elif [ -z %[3]s ]; then
	rm -f -- %[5]s
else
	echo "$copied is not what was replaced (SHA-256 ${kept:-none: it is not there})" >&2
	exit 1
fi
`, shell.Quote(backupPath+file.Path), shell.Quote(file.Served), shell.Quote(file.Found),
		shell.Quote(temporaryFor(file.Path)), shell.Quote(file.Path), shell.Quote(path.Dir(file.Path)))
}

// aroundRollback is what goes before and after the files of a member that are
// put back, so that it starts anew with them; nothing for a certificate, which
// is read anew.
func aroundRollback(item plan.Item) (first, then string) {
	if pod, ok := item.Step.Resource.(resource.StaticPod); ok {
		return oldPod(pod, ""), renewPod(pod)
	}
	u, ok := item.Step.Resource.(resource.Unit)
	if !ok {
		return "", ""
	}
	verb := "restart"
	if item.Change.Action == resource.Reload {
		verb = "reload-or-restart"
	}
	script := restartScript(u.Name, verb, u.Docker == nil)
	if u.Docker != nil {
		script += startContainers
	}
	return "", script
}
