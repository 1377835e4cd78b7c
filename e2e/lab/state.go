package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile takes the exclusive lock on file, making it if need be. While another
// holds it, waiting is called once and the lock is awaited until ctx ends. The
// lock goes with the process. The returned function releases it.
func lockFile(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	var f *os.File
	var failure error
	told := false
	err = poll(ctx, 100*time.Millisecond, func() bool {
		if f, failure = os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600); failure != nil {
			return true
		}
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			// The holder before may have removed the file, and someone made it anew.
			if held, current, err := statBoth(f, file); err == nil && os.SameFile(held, current) {
				return true
			}
		} else if !errors.Is(err, unix.EWOULDBLOCK) {
			failure = err
			return true
		}
		f.Close()
		if !told && waiting != nil {
			waiting()
		}
		told = true
		return false
	})
	if err = errors.Join(failure, err); err != nil {
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}

func statBoth(f *os.File, name string) (held, current fs.FileInfo, err error) {
	if held, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	current, err = os.Stat(name)
	return held, current, err
}

// writeFile replaces file at once, so that readers see the old or the new bytes.
func writeFile(file string, data []byte, mode fs.FileMode) error {
	temporary := file + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(temporary, data, mode); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

func writeJSON(file string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(file, append(data, '\n'), 0o600)
}

func readJSON(file string, value any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// removeTree removes dir and all below it, but never through a mount: mounts
// found below are taken off first.
func removeTree(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var below []string
	for _, line := range strings.Split(string(mounts), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4]+"/", filepath.Clean(dir)+"/") {
			below = append(below, fields[4])
		}
	}
	for i := len(below) - 1; i >= 0; i-- { // the last mounted first
		if err := unix.Unmount(below[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", below[i], err)
		}
	}
	return os.RemoveAll(dir)
}
