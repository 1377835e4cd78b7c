// Command secretwatch looks, for as long as its standard input is open, for
// secrets where others could read them: in files that are readable for more than
// their owner, at any moment of their lives, and in the arguments and
// environments of processes.
//
// The first line of its input is a Request, so that no secret stands among its
// own arguments. When its input ends it prints a Report. Both are JSON.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Request says what to look for, and where.
type Request struct {
	// Directories are watched with all that is below them, now and later.
	Directories []string `json:"directories"`
	// Except are directories that are left out.
	Except []string `json:"except"`
	// Secrets are texts that no file readable for others may have.
	Secrets []string `json:"secrets"`
}

// Report is what was seen.
type Report struct {
	// Readable are the files in which others could have read a secret, and how
	// they were seen: "/etc/a.key (0644)".
	Readable []string `json:"readable"`
	// Processes are all arguments and environment variables of processes, each once.
	Processes []string `json:"processes"`
	// Files and Samples are how many looks were taken at files and at processes.
	Files   int `json:"files"`
	Samples int `json:"samples"`
	// Errors are why something was not looked at.
	Errors []string `json:"errors"`
}

// mostRead is how much of a file is searched.
const mostRead = 1 << 20

// pause lies between two looks at all processes.
const pause = 5 * time.Millisecond

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "secretwatch:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	reader := bufio.NewReader(in)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return err
	}
	var request Request
	if err := json.Unmarshal(line, &request); err != nil {
		return err
	}
	w, err := newWatch(request)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "watching")
	ended := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { w.files(ended) })
	group.Go(func() { w.processes(ended) })
	_, err = io.Copy(io.Discard, reader)
	close(ended)
	group.Wait()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(w.result())
}

type watch struct {
	request  Request
	notifier *fsnotify.Watcher

	mu       sync.Mutex
	report   Report
	readable map[string]bool
	seen     map[string]bool
}

func newWatch(request Request) (*watch, error) {
	notifier, err := fsnotify.NewBufferedWatcher(4096)
	if err != nil {
		return nil, err
	}
	w := &watch{request: request, notifier: notifier, readable: map[string]bool{}, seen: map[string]bool{}}
	for _, dir := range request.Directories {
		w.below(dir)
	}
	return w, nil
}

// below watches a directory and looks at what is there by now.
func (w *watch) below(dir string) {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err): // it has gone meanwhile
			return nil
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(w.request.Except, path):
			return fs.SkipDir
		case entry.IsDir():
			if err := w.notifier.Add(path); err != nil && !os.IsNotExist(err) {
				return err
			}
		default:
			w.look(path)
		}
		return nil
	})
	if err != nil {
		w.failed(err)
	}
}

func (w *watch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Errors = append(w.report.Errors, err.Error())
}

// files looks at each file that is made, written or given another mode.
func (w *watch) files(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case err := <-w.notifier.Errors:
			w.failed(err)
		case event := <-w.notifier.Events:
			if event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename) {
				continue
			}
			if info, err := os.Lstat(event.Name); err == nil && info.IsDir() && event.Has(fsnotify.Create) {
				w.below(event.Name)
				continue
			}
			w.look(event.Name)
		}
	}
}

// look searches a file that others may read.
func (w *watch) look(path string) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	w.mu.Lock()
	w.report.Files++
	w.mu.Unlock()
	if info.Mode().Perm()&0o077 == 0 {
		return
	}
	file, err := os.Open(path)
	if err != nil {
		return // it has gone meanwhile
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, mostRead))
	if err != nil {
		w.failed(err)
		return
	}
	for _, secret := range w.request.Secrets {
		if bytes.Contains(content, []byte(secret)) {
			w.mu.Lock()
			w.readable[fmt.Sprintf("%s (%04o)", path, info.Mode().Perm())] = true
			w.mu.Unlock()
		}
	}
}

// processes remembers what processes were started with.
func (w *watch) processes(ended <-chan struct{}) {
	for {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			w.failed(err)
		}
		for _, entry := range entries {
			if _, err := strconv.Atoi(entry.Name()); err != nil {
				continue
			}
			for _, name := range []string{"cmdline", "environ"} {
				content, err := os.ReadFile(filepath.Join("/proc", entry.Name(), name))
				if err != nil {
					continue // it has ended, or is the kernel's
				}
				w.remember(content)
			}
		}
		w.mu.Lock()
		w.report.Samples++
		w.mu.Unlock()
		select {
		case <-ended:
			return
		case <-time.After(pause):
		}
	}
}

func (w *watch) remember(content []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for word := range bytes.SplitSeq(content, []byte{0}) {
		if len(word) > 0 && !w.seen[string(word)] {
			w.seen[string(word)] = true
		}
	}
}

func (w *watch) result() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	report := w.report
	for path := range w.readable {
		report.Readable = append(report.Readable, path)
	}
	for word := range w.seen {
		report.Processes = append(report.Processes, word)
	}
	slices.Sort(report.Readable)
	slices.Sort(report.Processes)
	return report
}
