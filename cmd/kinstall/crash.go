package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/kinstall/kinstall/plan/render"
	"github.com/kinstall/kinstall/provision"
)

// shownPanic is how much of a panic's value is printed, in characters: it may
// quote what a host or an inventory said.
const shownPanic = 200

// sayPanic tells of a panic in one line, and where its trace is.
func (a *app) sayPanic(p *provision.PanicError) {
	text, _, _ := strings.Cut(strings.TrimSpace(fmt.Sprint(p.Value)), "\n")
	if runes := []rune(text); len(runes) > shownPanic {
		text = string(runes[:shownPanic]) + "…"
	}
	where := "its trace is in "
	path, err := a.writeTrace(p)
	if err != nil {
		where, path = "its trace could not be written: ", err.Error()
	}
	a.say("Error: a fault of kinstall, not of the inventory or a host: " + render.Clean(text) + "; " + where + render.Clean(path))
}

// fault has the program end because of a panic of a goroutine that nobody waits
// for: what it owed to others won't come.
func (a *app) fault(p *provision.PanicError) {
	select {
	case a.faults <- p:
	default: // one is enough
	}
}

// crash says so.
func (a *app) crash(p *provision.PanicError) {
	a.mu.Lock()
	changing := a.phase == applying
	a.phase, a.notice = over, nil // nothing else is drawn any more
	a.mu.Unlock()
	if changing {
		a.say("Steps under way may be half done; the next apply finds out and mends them.")
	}
	a.sayPanic(p)
}

// writeTrace writes what is needed to find a fault to a new file that only the
// user can read: in the cache directory, else the one for temporary files. The
// command line is left out, because variables may be secrets.
func (a *app) writeTrace(p *provision.PanicError) (path string, err error) {
	var file *os.File
	for _, dir := range a.crashDirs() {
		if err = os.MkdirAll(dir, 0o700); err != nil {
			continue
		}
		if file, err = os.CreateTemp(dir, "kinstall-crash-*.txt"); err == nil {
			break
		}
	}
	if file == nil {
		return "", err
	}
	_, err = fmt.Fprintf(file, "kinstall %s, %s, %s/%s\n%s\n\npanic: %v\n\n%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH,
		a.now().UTC().Format(time.RFC3339), p.Value, p.Stack)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return file.Name(), err
}

// crashDirs are where traces may be written, the first that can be is taken.
func (a *app) crashDirs() []string {
	var dirs []string
	if cache := a.getenv("XDG_CACHE_HOME"); filepath.IsAbs(cache) {
		dirs = append(dirs, filepath.Join(cache, "kinstall"))
	} else if home := a.getenv("HOME"); filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, ".cache", "kinstall"))
	}
	return append(dirs, os.TempDir())
}
