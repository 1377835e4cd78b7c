package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process identifies a process across reuse of its pid: Start is its start time
// in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)).
type process struct {
	PID   int
	Start uint64
}

// readProcess reads a file holding "PID START". A missing file yields fs.ErrNotExist.
func readProcess(file string) (process, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return process{}, err
	}
	var p process
	if _, err := fmt.Sscanf(string(data), "%d %d", &p.PID, &p.Start); err != nil {
		return process{}, fmt.Errorf("read %s: %w", file, err)
	}
	return p, nil
}

// alive reports whether this very process runs; a zombie doesn't.
func (p process) alive() bool {
	state, start, err := procStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

func procStat(pid int) (state byte, start uint64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseProcStat(string(data))
}

// parseProcStat takes state and start time from /proc/PID/stat. The command's
// name stands in parentheses and may hold spaces and parentheses itself.
func parseProcStat(line string) (state byte, start uint64, err error) {
	end := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[end+1:])
	if end < 0 || len(fields) < 20 {
		return 0, 0, fmt.Errorf("malformed /proc stat line %q", line)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0][0], start, err
}

// signal sends sig to this very process and to no other that got its pid since.
// A process that is gone is no error.
func (p process) signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor pins the process, so what is checked now stays true.
	if !p.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// poll calls done about every interval until it returns true or ctx ends.
func poll(ctx context.Context, interval time.Duration, done func() bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
