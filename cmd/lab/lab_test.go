package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/e2e/lab"
)

func TestMachines(t *testing.T) {
	l, err := lab.Open("trial")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, inventory string
		want            []lab.Machine
		wantErr         string
	}{
		{
			name: "variables and groups",
			inventory: `
variable "lab" {
  type = string
}
cluster "wuxia" {
  version = "1.36.3"
}
ssh {
  key_file = "${var.lab}/id_ed25519"
}
host "shaolin" {
  address = "10.27.53.32"
  roles   = ["etcd", "master"]
}
host "worker" {
  count   = 2
  address = cidrhost("10.27.52.0/24", 80 + count.index)
  roles   = ["worker"]
}
`,
			want: []lab.Machine{
				{Name: "shaolin", Address: netip.MustParseAddr("10.27.53.32")},
				{Name: "worker-0", Address: netip.MustParseAddr("10.27.52.80")},
				{Name: "worker-1", Address: netip.MustParseAddr("10.27.52.81")},
			},
		},
		{name: "mistakes", inventory: `cluster "wuxia" {}`, wantErr: "inventory.hcl:1"},
		{name: "not HCL", inventory: `host "a" {`, wantErr: "inventory.hcl:1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "inventory.hcl")
			if err := os.WriteFile(file, []byte(tc.inventory), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := machines(l, file)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("machines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusOutput(t *testing.T) {
	l, err := lab.Open("trial")
	if err != nil {
		t.Fatal(err)
	}
	all := []lab.Status{
		{Machine: lab.Machine{Name: "emei", Address: netip.MustParseAddr("10.27.52.72")}, State: lab.Running, Uptime: 3*time.Minute + 12*time.Second + 7*time.Millisecond, Console: "/e/console.log"},
		{Machine: lab.Machine{Name: "huashan", Address: netip.MustParseAddr("10.24.138.208")}, State: lab.Stopped, Console: "/h/console.log"},
	}
	var b bytes.Buffer
	if err := printTable(&b, "trial", lab.Owner{}, all); err != nil {
		t.Fatal(err)
	}
	want := `NAME     ADDRESS        STATE    UPTIME
emei     10.27.52.72    running  3m12s
huashan  10.24.138.208  stopped  -
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}

	since := time.Date(2026, 11, 21, 15, 0, 0, 0, time.Local)
	owner := lab.Owner{Checkout: "/src/kinstall", Inventory: "/src/kinstall/inventories/lab.hcl", Since: since}
	b.Reset()
	if err := printTable(&b, "trial", owner, all); err != nil {
		t.Fatal(err)
	}
	want = "lab trial, up for /src/kinstall/inventories/lab.hcl since 2026-11-21 15:00:00\n" + want
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table with an owner (-want +got):\n%s", diff)
	}

	b.Reset()
	if err := printJSON(&b, l, owner, all[:1]); err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(b.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if document["checkout"] != owner.Checkout || document["inventory"] != owner.Inventory || document["since"] != since.Format(time.RFC3339) {
		t.Errorf("whose lab it is: %s", b.String())
	}

	b.Reset()
	if err := printJSON(&b, l, lab.Owner{}, all[:1]); err != nil {
		t.Fatal(err)
	}
	want = `{
  "version": 1,
  "name": "trial",
  "operator_dir": "/var/lib/kinstall-lab/trial/operator",
  "machines": [
    {
      "name": "emei",
      "address": "10.27.52.72",
      "state": "running",
      "uptime_seconds": 192,
      "console_log": "/e/console.log"
    }
  ]
}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}

	b.Reset()
	if err := printJSON(&b, l, lab.Owner{}, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"machines": []`) {
		t.Errorf("no machines must be an empty list:\n%s", b.String())
	}
}

// What a user gets wrong must be said before anything is touched.
func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"up"}, "up: want one INVENTORY, got 0 arguments"},
		{[]string{"up", "/no/such/file"}, "does not exist"},
		{[]string{"down", "all"}, "down: takes no arguments"},
		{[]string{"-name", "No_Such", "status"}, `lab name "No_Such"`},
		{[]string{"cut"}, "cut: want one HOST, got 0 arguments"},
		{[]string{"stop", "a", "b"}, "stop: want one HOST, got 2 arguments"},
		{[]string{"exec"}, "exec: no command given"},
		{[]string{"ssh"}, "ssh: no HOST given"},
		{[]string{"status", "-xml"}, "-xml"},
		{[]string{"reset"}, `no command "reset"`},
	} {
		app := newApp()
		app.Writer, app.ErrWriter = new(bytes.Buffer), new(bytes.Buffer)
		err := app.Run(append([]string{"lab"}, tc.args...))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("lab %v: error %v, want %q", tc.args, err, tc.want)
		}
	}
}
