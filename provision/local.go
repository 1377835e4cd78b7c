package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/resource"
)

// fetches is how many releases are fetched at a time before the first step.
const fetches = 4

// LocalError says what on the operator's machine, or of a release's size, keeps
// apply from beginning. No host was changed.
type LocalError struct {
	Err  error
	hint string
}

func (e *LocalError) Error() string { return "nothing was changed: " + e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// Hint is advice for the user, "" for none.
func (e *LocalError) Hint() string {
	var adviser interface{ Hint() string }
	if e.hint == "" && errors.As(e.Err, &adviser) {
		return adviser.Hint()
	}
	return e.hint
}

// checkLocal finds what would stop a run half-way although it could have been
// known before: directories that can't be written to, releases that can't be had
// or have another digest, disks that are too small for them. Releases are in the
// cache afterwards.
func (e *Executor) checkLocal(ctx context.Context) error {
	if err := e.checkWritable(); err != nil {
		return err
	}
	if err := e.checkSigners(); err != nil {
		return err
	}
	sizes, err := e.fetchReleases(ctx)
	if err != nil {
		return err
	}
	return e.checkRoom(sizes)
}

// checkWritable tries to write where steps of the operator's machine will.
func (e *Executor) checkWritable() error {
	dirs := map[string]string{} // what for, by directory
	for _, item := range e.delta.Items {
		if !item.Change.Changes() {
			continue
		}
		switch r := item.Step.Resource.(type) {
		case resource.LockFile:
			dirs[filepath.Dir(r.Path)] = "the lock file"
		case resource.Authority:
			if dir := e.Fleet.inventory.PKI.Dir; dir != "" {
				dirs[dir] = "the authorities"
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := tryToWrite(dir); err != nil {
			return &LocalError{fmt.Errorf("%s can't be written to %s: %w", dirs[dir], dir, err),
				"apply writes them before it changes a host; make the directory writable, or run kinstall on a copy of the inventory's directory"}
		}
	}
	return nil
}

// checkSigners has those sign who keep authorities' keys, for kinstall itself, as
// it will need anyway: what answers nothing or garbage is found before a host is
// changed. The front proxy's authority has no clients but API servers.
func (e *Executor) checkSigners() error {
	if !slices.ContainsFunc(e.delta.Items, func(item plan.Item) bool { return item.Change.Action != resource.NoOp }) {
		return nil
	}
	var failures []error
	for _, client := range []struct {
		authority    string
		organization []string
	}{{plan.AuthorityEtcd, nil}, {plan.AuthorityKubernetes, []string{"system:masters"}}} {
		if e.Fleet.inventory.PKI.SignerOf(client.authority) != nil && e.Authorities.Exists(client.authority) {
			_, err := e.Authorities.ClientTLS(client.authority, "kinstall", client.organization, adminLifetime)
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return &LocalError{Err: err}
	}
	return nil
}

// tryToWrite reports why a file can't be made in a directory, or, where that is
// not there yet, in the nearest one above it that is.
func tryToWrite(dir string) error {
	for above := filepath.Dir(dir); above != dir; above = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = above
	}
	file, err := os.CreateTemp(dir, ".kinstall.*")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// need is a release that steps bring to hosts.
type need struct{ location, sha256 string }

// needOf is the release that an item brings to its host.
func needOf(item plan.Item) (need, bool) {
	if item.Change.Action != resource.Create && item.Change.Action != resource.Update && item.Change.Action != resource.Replace {
		return need{}, false
	}
	switch r := item.Step.Resource.(type) {
	case resource.Artifact:
		return need{r.Location, r.SHA256}, true
	case resource.Image:
		return need{r.Location, r.SHA256}, true
	}
	return need{}, false
}

// fetchReleases gets every release that will be sent to a host, and returns
// their sizes. All that fail are named.
func (e *Executor) fetchReleases(ctx context.Context) (map[need]int64, error) {
	var wanted []plan.Item // one for each release
	seen := map[need]bool{}
	for _, item := range e.delta.Items {
		if n, ok := needOf(item); ok && !seen[n] {
			seen[n] = true
			item.OwnStep().Host = plan.Operator
			wanted = append(wanted, item)
		}
	}
	var mu sync.Mutex
	sizes, failures := map[need]int64{}, make([]error, len(wanted))
	var group fault.Group
	group.SetLimit(fetches)
	for i, item := range wanted {
		group.Go(func() error {
			failures[i] = Recover(func() error {
				n, _ := needOf(item)
				size, err := e.fetch(ctx, item, n)
				mu.Lock()
				defer mu.Unlock()
				sizes[n] = size
				return err
			})
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil }); len(failures) > 0 {
		return nil, &LocalError{Err: errors.Join(failures...)}
	}
	return sizes, nil
}

// fetch gets one release and returns its size. What lies in the cache is no
// news; a download is told of as a step of the operator's machine.
func (e *Executor) fetch(ctx context.Context, item plan.Item, n need) (int64, error) {
	begin, told := time.Now(), false
	t := &task{executor: e, item: item, report: func(text string) {
		if !told {
			told = true
			e.tell(Event{Kind: Started, Item: item})
		}
		e.tell(Event{Kind: Progress, Item: item, Text: text})
	}}
	file, err := e.Releases.Fetch(ctx, n.location, n.sha256, t.transfer("fetching"))
	if err == nil && told {
		e.tell(Event{Kind: Finished, Item: item, Elapsed: time.Since(begin)})
	}
	if err != nil {
		if told {
			e.tell(Event{Kind: Failed, Item: item, Err: err, Elapsed: time.Since(begin)})
		}
		return 0, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

const (
	// roomFactor is how much of a disk a release takes for each of its bytes, at
	// most: as uploaded, as kept by the runtime, and unpacked.
	roomFactor = 3
	// uploadFactor is how much of it lies where uploads do: as uploaded, and
	// unpacked beside that.
	uploadFactor = 2
)

// checkRoom compares what is sent to each host with what was free there: where it
// is kept, and where uploads lie, which are removed as soon as they were used.
func (e *Executor) checkRoom(sizes map[need]int64) error {
	sent := map[string][]int64{}
	for _, item := range e.delta.Items {
		if n, ok := needOf(item); ok {
			sent[item.Step.Host] = append(sent[item.Step.Host], sizes[n])
		}
	}
	var failures []error
	for _, host := range slices.Sorted(maps.Keys(sent)) {
		sizes := sent[host]
		slices.SortFunc(sizes, func(a, b int64) int { return cmp.Compare(b, a) })
		var all, atOnce int64
		for i, size := range sizes {
			if all += size; i < stepsPerHost {
				atOnce += size
			}
		}
		for _, place := range []struct {
			path, what string
			needed     int64
		}{
			{"/var/lib", "the binaries and images to be sent there", roomFactor * all},
			{"/var/tmp", "uploads", uploadFactor * atOnce},
		} {
			free, known := e.facts(host).Host.DiskFree[place.path]
			if !known {
				free, known = e.facts(host).Host.DiskFree["/"]
			}
			if known && free < place.needed {
				failures = append(failures, fmt.Errorf("%s: %s has %d MiB free, and %d MiB are needed for %s", host, place.path, free>>20, place.needed>>20, place.what))
				break
			}
		}
	}
	if len(failures) > 0 {
		return &LocalError{errors.Join(failures...), "free some space, or grow the disk"}
	}
	return nil
}
