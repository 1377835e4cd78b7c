package provision

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A reload is over when the processes of before take no more clients, not when
// systemctl has returned.
func TestReloadWaitsForOldProcesses(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash, to give a process another name")
	}
	// A main process with two children, of which one takes clients.
	main := exec.Command(bash, "-c", `bash -c 'exec -a "nginx: worker process" sleep 300' & worker=$!
sleep 300 & other=$!
echo $worker $other
trap 'kill $worker $other; exit' TERM
while :; do wait; done`)
	stdout, err := main.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := main.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = main.Process.Signal(syscall.SIGTERM)
		_ = main.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	worker, other, _ := strings.Cut(strings.TrimSpace(line), " ")
	for { // until it has its name
		if name, err := os.ReadFile("/proc/" + worker + "/cmdline"); err != nil {
			t.Fatal(err)
		} else if strings.HasPrefix(string(name), "nginx: worker process") {
			break
		}
	}

	dir := t.TempDir()
	systemctl := `#!/bin/sh
case $1 in
show) echo MainPID=` + strconv.Itoa(main.Process.Pid) + ` ;;
reload) (sleep 0.3; kill ` + worker + `) >/dev/null 2>&1 & ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(systemctl), 0o700); err != nil {
		t.Fatal(err)
	}
	script := exec.Command("sh", "-euc", reloadScript("nginx.service"))
	script.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if name, _ := os.ReadFile("/proc/" + worker + "/cmdline"); strings.HasPrefix(string(name), "nginx: worker process") {
		t.Error("the process of before still takes clients")
	}
	if name, _ := os.ReadFile("/proc/" + other + "/cmdline"); !strings.HasPrefix(string(name), "sleep") {
		t.Errorf("another process: %q", name)
	}
}
