package probe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kinstall/kinstall/plan/fact"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// machine is a scratch host: a directory tree and the programs a minimal test
// system may lack, faked with what the real ones print.
type machine struct {
	shell []string // how to start sh
	root  string   // the tree that must not change
	path  string   // PATH of the script
	uid   uint32
}

// tools are what the fakes print; a tool that is not listed is the system's own.
var tools = map[string]string{
	"ip": `case "$*" in
"addr show") cat <<'E'
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
       valid_lft forever preferred_lft forever
2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue master br0 state UP group default qlen 1000
    link/ether 02:42:0a:58:00:0b brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 10.88.0.11/24 brd 10.88.0.255 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fd00::11/64 scope global
       valid_lft forever preferred_lft forever
    inet6 fe80::42:aff:fe58:b/64 scope link
       valid_lft forever preferred_lft forever
E
;;
"-o -4 addr show to 10.88.0.11") echo '2: eth0    inet 10.88.0.11/24 brd 10.88.0.255 scope global eth0\       valid_lft forever preferred_lft forever' ;;
"-o -4 neigh show dev eth0") printf '%s\n' '10.88.0.1 lladdr 02:42:0a:58:00:01 REACHABLE' '10.88.0.12  FAILED' ;;
"-o -4 route show table main") printf '%s\n' 'default via 10.88.0.1 dev eth0 proto dhcp metric 100 ' '10.88.0.0/24 dev eth0 proto kernel scope link src 10.88.0.11 ' '10.244.1.0/24 via 10.88.0.12 dev eth0 proto static ' '10.244.2.0/24 proto static \	nexthop via 10.88.0.13 dev eth0 weight 1 \	nexthop via 10.88.0.14 dev eth0 weight 1 ' '10.9.9.9 via 10.88.0.12 dev eth0 ' 'unreachable 10.3.0.0/16 proto static ' '10.4.0.0/16 via 10.88.0.9 dev eth0 metric 500 ' '10.4.0.0/16 via 10.88.0.8 dev eth0 metric 20 ' ;;
"-o addr show to 10.88.0.11") echo '2: eth0    inet 10.88.0.11/24 brd 10.88.0.255 scope global eth0' ;;
"-o neigh show to 10.88.0.40 nud reachable") echo '10.88.0.40 dev eth0 lladdr 02:42:0a:58:00:40 REACHABLE' ;;
"-o neigh show to 10.88.0.11 nud reachable") echo '10.88.0.11 dev eth0 lladdr 02:42:0a:58:00:0b REACHABLE' ;;
"-o -6 route show table main") printf '%s\n' 'fd00::/64 dev eth0 proto kernel metric 256 pref medium' 'fd01:1::/64 via fd00::12 dev eth0 metric 1024 pref medium' ;;
*) exit 1 ;;
esac`,
	"ss": `case "$*" in *-u*) cat <<'E'
UNCONN 0      0      127.0.0.1:323        0.0.0.0:*    users:(("chronyd",pid=540,fd=5))
UNCONN 0      0        0.0.0.0:8472       0.0.0.0:*
UNCONN 0      0           [::]:8472          [::]:*
E
exit ;; esac
cat <<'E'
LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=711,fd=3))
LISTEN 0      4096         127.0.0.1:2379      0.0.0.0:*    users:(("etcd",pid=12,fd=7),("etcd",pid=12,fd=8))
LISTEN 0      128             [::]:22           [::]:*    users:(("sshd",pid=711,fd=4))
LISTEN 0      4096    [::ffff:10.0.0.1]:9100           *:*
LISTEN 0      4096   127.0.0.53%lo:53        0.0.0.0:*
E`,
	"systemctl": `case " $* " in *" stuck.service "*) echo 'Failed to get properties: Connection timed out' >&2; exit 1 ;; esac
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
shift
first=yes
for unit; do
	[ $first = yes ] || echo
	first=no
	case $unit in
	etcd.service) printf '%s\n' MainPID=812 LoadState=loaded ActiveState=active SubState=running UnitFileState=enabled NeedDaemonReload=yes ;;
	*.mount) printf '%s\n' LoadState=loaded ActiveState=active SubState=mounted UnitFileState=generated NeedDaemonReload=no ;;
	*) printf '%s\n' MainPID=0 LoadState=not-found ActiveState=inactive SubState=dead UnitFileState= NeedDaemonReload=no ;;
	esac
done`,
	"dpkg-query": `printf '%s\n' 'nginx installed 1.22.1-9+deb12u2' 'bird2 config-files 2.0.12-7'
echo 'dpkg-query: no packages found matching socat' >&2
exit 1`,
	// Packets of up to 1400 bytes come back from 10.88.0.13, all from 10.88.0.12
	// and fd00::12, none from others.
	"ping": `for peer; do :; done
case "$*" in "-n -q -M do -c "*) ;; "-n -q -c 1 -W 1 "*) exit 1 ;; *) exit 2 ;; esac
while [ "$1" != -s ]; do shift; done
case $peer in
10.88.0.12) exit 0 ;;
10.88.0.13) [ "$2" -le 1372 ] ;;
fd00::12) [ "$2" -le 1452 ] ;;
*) exit 1 ;;
esac`,
	"arping": `case "$*" in
"-D -I eth0 -c 1 -w 1 10.88.0.11") echo 'Unicast reply from 10.88.0.11 [02:42:0A:58:00:99]  0.743ms'; exit 1 ;;
*) exit 2 ;;
esac`,
	"iptables": `case "$*" in
*10.244.0.0/16*) exit 0 ;;
*DOCKER*) echo "iptables v1.8.9 (nf_tables): Chain 'DOCKER-USER' does not exist" >&2; exit 2 ;;
*mangle*) echo "iptables v1.8.9 (legacy): can't initialize iptables table" >&2; exit 3 ;;
*) echo 'iptables: Bad rule (does a matching rule exist in that chain?).' >&2; exit 1 ;;
esac`,
	"ip6tables": `exit 0`,
	"ctr":       `exit 1`,
	"ovs-vsctl": `case "$*" in
"-t 5 get bridge br0 datapath_type fail_mode") printf 'netdev\nsecure\n' ;;
"-t 5 get bridge br1 datapath_type fail_mode") printf '""\n[]\n' ;;
"-t 5 list-ports br0") printf 'pods0\ntunnel0\n' ;;
"-t 5 list-ports br1") echo eth1 ;;
*" list interface pods0 tunnel0") echo '{"data":[["tunnel0","vxlan",["map",[["key","7"],["remote_ip","flow"]]],["set",[]]],["pods0","",["map",[]],"could not open network device pods0 (No such device)"]],"headings":["name","type","options","error"]}' ;;
*" list interface eth1") echo '{"data":[["eth1","",["map",[]],["set",[]]]],"headings":["name","type","options","error"]}' ;;
*) echo 'ovs-vsctl: no row "br9" in table Bridge' >&2; exit 1 ;;
esac`,
	"ovs-ofctl": `case "$*" in
*" --names diff-flows br0 /etc/passwd") printf '%s\n' '-priority=1 actions=drop' '+ip,nw_dst=10.244.1.0/24 actions=output:pods0'; exit 2 ;;
*) echo 'ovs-ofctl: br1 is not a bridge or a socket' >&2; exit 1 ;;
esac`,
	"docker": `for reference; do :; done
case $reference in
kinstall.example/there:1) echo sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef ;;
kinstall.example/silent:1) echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2; exit 1 ;;
*) echo "Error: No such image: $reference" >&2; exit 1 ;;
esac`,
}

// shells returns the shells that are installed here, by name.
func shells(t testing.TB) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for name, command := range map[string][]string{"sh": {"sh"}, "dash": {"dash"}, "bash": {"bash", "--posix"}, "busybox": {"busybox", "sh"}} {
		if path, err := exec.LookPath(command[0]); err == nil {
			found[name] = append([]string{path}, command[1:]...)
		}
	}
	return found
}

func newMachine(t testing.TB, shell []string) *machine {
	t.Helper()
	m := &machine{shell: shell, root: t.TempDir()}
	bin := t.TempDir()
	for name, text := range tools {
		write(t, filepath.Join(bin, name), "#!/bin/sh\n"+text+"\n", 0o755)
	}
	m.path = bin
	if strings.HasSuffix(shell[0], "busybox") { // its own stat, grep, df … throughout
		applets := t.TempDir()
		if out, err := exec.Command(shell[0], "--install", "-s", applets).CombinedOutput(); err != nil {
			t.Fatalf("install applets: %v: %s", err, out)
		}
		m.path += ":" + applets
	}
	m.path += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	return m
}

// script is Script for this machine.
func (m *machine) script(t testing.TB, queries []fact.Query) string {
	t.Helper()
	text, err := script(queries, "10.88.0.11", filepath.Join(m.root, "state.json"), filepath.Join(m.root, "digests"))
	if err != nil {
		t.Fatal(err)
	}
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
	if !strings.Contains(text, path) {
		t.Fatal("the script does not set PATH")
	}
	text = strings.Replace(text, path, "PATH="+m.path+"\n", 1)
	if strings.HasSuffix(m.shell[0], "busybox") { // may prefer its own ip to any in PATH
		bin, _, _ := strings.Cut(m.path, ":")
		text = strings.NewReplacer(" ip addr show", " "+bin+"/ip addr show", " ip -o", " "+bin+"/ip -o", "\tip -o", "\t"+bin+"/ip -o",
			"$(ip -o", "$("+bin+"/ip -o", "\tping ", "\t"+bin+"/ping ", "$(arping ", "$("+bin+"/arping ").Replace(text)
	}
	return text
}

// run gives the script to the shell on standard input, as the transport does.
// A limit of zero on the size of files makes any write to one fatal.
func (m *machine) run(t testing.TB, script string) []byte {
	t.Helper()
	words := append([]string{"-c", `ulimit -f 0; exec "$@"`, "sh"}, m.shell...)
	cmd := exec.Command("/bin/sh", words...)
	cmd.Env = []string{"TMPDIR=" + m.root, "HOME=" + m.root, "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8"}
	cmd.Dir = m.root
	cmd.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if m.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: m.uid, Gid: m.uid}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("the script complained: %s", stderr.String())
	}
	return out
}

// probe asks and reads, and checks that nothing changed.
func (m *machine) probe(t testing.TB, queries []fact.Query) (fact.Set, error) {
	t.Helper()
	before := listing(t, m.root)
	out := m.run(t, m.script(t, queries))
	if diff := cmp.Diff(before, listing(t, m.root)); diff != "" {
		t.Errorf("the probe changed the host (-before +after):\n%s", diff)
	}
	return Parse(out, queries)
}

// listing describes a tree, with everything but access times.
func listing(t testing.TB, root string) []string {
	t.Helper()
	var entries []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		sys := info.Sys().(*syscall.Stat_t)
		entries = append(entries, fmt.Sprintf("%q %v %d %d %d %d %v %v", path, info.Mode(), sys.Ino, sys.Uid, sys.Gid, info.Size(), sys.Mtim, sys.Ctim))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestFiles(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) { testFiles(t, newMachine(t, shell)) })
	}
}

func testFiles(t *testing.T, m *machine) {
	owner, group := fmt.Sprint(os.Getuid()), fmt.Sprint(os.Getgid())
	if os.Getuid() == 0 {
		owner, group = "root", "root"
	}
	big := strings.Repeat("0123456789abcdef\n", 1<<14)
	binary := "a\x00b\xff\n\n"
	regular := func(content string, mode uint32) fact.File {
		return fact.File{Exists: true, Type: "file", Mode: mode, Owner: owner, Group: group, Size: int64(len(content)), SHA256: digest(content)}
	}
	withContent := func(f fact.File, content string) fact.File {
		f.Content, f.HasContent = []byte(content), true
		return f
	}
	type test struct {
		query fact.Query
		want  fact.File
	}
	var tests []test
	add := func(q fact.Query, want fact.File) {
		q.Kind, q.Name = fact.KindFile, filepath.Join(m.root, q.Name)
		tests = append(tests, test{q, want})
	}

	for i, name := range []string{
		"plain", "with space", " leading", "trailing ", "it's", `double"quote`, `back\slash`, "$(touch pwned)", "`id`", "$HOME",
		"*", "[a]", "a;b", "-n", "pipe|pipe", "日本語", "caf\xe9", "tab\there", "cr\r", "ends in /a", "a", "#", "~", "&", "\x01",
	} {
		content := fmt.Sprintf("content of %d\n", i)
		write(t, filepath.Join(m.root, "names", name), content, 0o640)
		add(fact.Query{Name: "names/" + name, Content: true, WantSHA256: digest(content)}, regular(content, 0o640))
		add(fact.Query{Name: "names/" + name + ".missing", Content: true}, fact.File{})
	}
	for name, content := range map[string]string{"empty": "", "newline": "\n", "binary": binary, "big": big, "no newline": "x"} {
		write(t, filepath.Join(m.root, "content", name), content, 0o600)
		add(fact.Query{Name: "content/" + name, Content: true, WantSHA256: digest("other")}, withContent(regular(content, 0o600), content))
	}
	write(t, filepath.Join(m.root, "unasked"), "secret", 0o600)
	add(fact.Query{Name: "unasked", WantSHA256: digest("other")}, regular("secret", 0o600))

	for name, mode := range map[string]uint32{"setuid": 0o4755, "setgid": 0o2755, "none": 0, "wide": 0o777} {
		path := filepath.Join(m.root, "modes", name)
		write(t, path, name, 0o600)
		if err := syscall.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if mode != 0 || os.Getuid() == 0 {
			add(fact.Query{Name: "modes/" + name}, regular(name, mode))
		}
	}
	sticky := filepath.Join(m.root, "sticky")
	if err := os.Mkdir(sticky, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Chmod(sticky, 0o1777); err != nil {
		t.Fatal(err)
	}
	tests = append(tests,
		test{fact.Query{Kind: fact.KindFile, Name: sticky, Content: true}, fact.File{Exists: true, Type: "directory", Mode: 0o1777, Owner: owner, Group: group}},
		test{fact.Query{Kind: fact.KindFile, Name: "/dev/null", Content: true}, fact.File{Exists: true, Type: "other", Mode: 0o666, Owner: "root", Group: "root"}},
	)
	for name, target := range map[string]string{"link": "plain", "dangling": "/no/such $(thing)", "circle": "circle", "odd link": "two\nlines"} {
		if err := os.Symlink(target, filepath.Join(m.root, name)); err != nil {
			t.Fatal(err)
		}
		add(fact.Query{Name: name, Content: true}, fact.File{Exists: true, Type: "link", Mode: 0o777, Owner: owner, Group: group, Target: target})
	}
	fifo := filepath.Join(m.root, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	add(fact.Query{Name: "fifo", Content: true}, fact.File{Exists: true, Type: "other", Mode: 0o600, Owner: owner, Group: group})
	add(fact.Query{Name: "names/plain/below a file"}, fact.File{})
	add(fact.Query{Name: "no/such/directory"}, fact.File{})
	if os.Getuid() == 0 {
		write(t, filepath.Join(m.root, "nameless"), "", 0o644)
		if err := os.Chown(filepath.Join(m.root, "nameless"), 54321, 54322); err != nil {
			t.Fatal(err)
		}
		want := regular("", 0o644)
		want.Owner, want.Group = "54321", "54322"
		add(fact.Query{Name: "nameless"}, want)
	}

	var queries []fact.Query
	for _, tt := range tests {
		queries = append(queries, tt.query)
	}
	set, err := m.probe(t, queries)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		got, err := set.File(tt.query.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got.Type == "directory" || got.Type == "link" {
			got.Size = 0 // the file system's affair
		}
		if got.Exists {
			info, err := os.Lstat(tt.query.Name)
			if err != nil {
				t.Fatal(err)
			}
			sys := info.Sys().(*syscall.Stat_t)
			if !got.MTime.Equal(time.Unix(sys.Mtim.Unix())) || !got.CTime.Equal(time.Unix(sys.Ctim.Unix())) {
				t.Errorf("%q: written at %v, changed at %v; the file system says %v, %v", tt.query.Name, got.MTime, got.CTime, info.ModTime(), time.Unix(sys.Ctim.Unix()))
			}
		}
		got.MTime, got.CTime = time.Time{}, time.Time{}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.query.Name, diff)
		}
	}
	if set.Len() != len(tests) {
		t.Errorf("%d answers to %d questions", set.Len(), len(tests))
	}
}

// TestUnreadable: what may not be read is an error with a name, never absent.
func TestUnreadable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("dropping to an unprivileged user needs root")
	}
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, shell)
			m.uid = 65534
			secret, hidden, fine := filepath.Join(m.root, "secret"), filepath.Join(m.root, "closed/hidden"), filepath.Join(m.root, "fine")
			write(t, secret, "s", 0o600)
			write(t, hidden, "h", 0o600)
			write(t, fine, "f", 0o644)
			if err := os.Chmod(filepath.Dir(hidden), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, root := range []string{m.root, strings.Split(m.path, ":")[0]} { // t.TempDir is 0755 below a private parent
				if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			absent := filepath.Join(m.root, "absent")
			queries := []fact.Query{
				{Kind: fact.KindFile, Name: fine, Content: true},
				{Kind: fact.KindFile, Name: secret},
				{Kind: fact.KindFile, Name: hidden},
				{Kind: fact.KindFile, Name: absent},
			}
			_, err := m.probe(t, queries)
			var answer *AnswerError
			if !errors.As(err, &answer) || !strings.Contains(err.Error(), "Permission denied") {
				t.Fatalf("got error %v, want Permission denied", err)
			}
			for _, path := range []string{secret, hidden} {
				if !strings.Contains(err.Error(), "file "+path) {
					t.Errorf("error %q does not name %s", err, path)
				}
			}
			for _, path := range []string{fine, absent} {
				if strings.Contains(err.Error(), path) {
					t.Errorf("error %q names %s", err, path)
				}
			}
			set, err := m.probe(t, []fact.Query{queries[0], queries[3]})
			if err != nil {
				t.Fatal(err)
			}
			if f, err := set.File(fine); err != nil || string(f.Content) != "f" {
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	m := newMachine(t, shells(t)["sh"])
	path := filepath.Join(m.root, "large")
	write(t, path, "", 0o644)
	if err := os.Truncate(path, 17<<20); err != nil {
		t.Fatal(err)
	}
	_, err := m.probe(t, []fact.Query{{Kind: fact.KindFile, Name: path, Content: true}})
	if err == nil || !strings.Contains(err.Error(), "17825792 bytes") {
		t.Errorf("got error %v", err)
	}
	// Where the whole content is wanted, its digest is enough to compare; where a
	// part of it is, it is not.
	wanted := fact.Query{Kind: fact.KindFile, Name: path, Content: true, WantSHA256: digest("x")}
	set, err := m.probe(t, []fact.Query{wanted})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := set.File(path); err != nil || !f.ContentLeftOut || f.HasContent || f.Size != 17<<20 || f.SHA256 != digest(strings.Repeat("\x00", 17<<20)) {
		t.Errorf("got %+v, %v", f, err)
	}
	wanted.Block = true
	if _, err := m.probe(t, []fact.Query{wanted}); err == nil || !strings.Contains(err.Error(), "more than can be compared") {
		t.Errorf("a block: got error %v", err)
	}
	// What each may have, all together may not.
	var queries []fact.Query
	for i := range 4 {
		p := filepath.Join(m.root, fmt.Sprintf("part-%d", i))
		write(t, p, strings.Repeat("y", 400<<10), 0o644)
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: p, Content: true, WantSHA256: digest("x")})
	}
	if set, err = m.probe(t, queries); err != nil {
		t.Fatal(err)
	}
	for i, q := range queries {
		if f, err := set.File(q.Name); err != nil || f.HasContent != (i < 2) || f.ContentLeftOut != (i >= 2) || f.SHA256 != digest(strings.Repeat("y", 400<<10)) {
			t.Errorf("file %d: content %v, left out %v, %v", i, f.HasContent, f.ContentLeftOut, err)
		}
	}
}

// A systemd that hangs is asked once, and for so long.
func TestUnitsHaveADeadline(t *testing.T) {
	m := newMachine(t, shells(t)["sh"])
	m.systemctl(t, "LoadState=loaded")
	m.program(t, "timeout", `case $* in "-k 5 20 systemctl show "*) echo asked again >&2; exit 124 ;; esac; exit 1`)
	_, err := m.probe(t, []fact.Query{{Kind: fact.KindUnit, Name: "a.service"}})
	if err == nil || !strings.Contains(err.Error(), "units: systemctl does not answer") || strings.Contains(err.Error(), "again") {
		t.Errorf("got error %v", err)
	}
}

func TestTrustedDigests(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, shell)
			binary, other := filepath.Join(m.root, "bin dir/etcd"), filepath.Join(m.root, "ctr|x")
			write(t, binary, "the binary", 0o755)
			write(t, other, "another", 0o755)
			record := func(paths ...string) {
				t.Helper()
				text, err := recordDigests(paths, filepath.Join(m.root, "digests"))
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(m.shell[0], m.shell[1:]...)
				cmd.Stdin = strings.NewReader("set -e\nPATH=" + m.path + "\nfile=mine IFS=x\n" + text + `[ "$file$IFS" = minex ]`)
				cmd.Env = []string{"TZ=Asia/Tokyo"}
				want := ""
				for _, p := range paths {
					data, err := os.ReadFile(p)
					if err != nil {
						t.Fatal(err)
					}
					want += fmt.Sprintf("%x  %s\n", sha256.Sum256(data), p)
				}
				if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
					t.Fatalf("record: %v: %s", err, out)
				}
			}
			ask := func(trusted bool) (a, b string) {
				t.Helper()
				set, err := m.probe(t, []fact.Query{{Kind: fact.KindFile, Name: binary, Trusted: trusted}, {Kind: fact.KindFile, Name: other, Trusted: trusted}})
				if err != nil {
					t.Fatal(err)
				}
				f, _ := set.File(binary)
				g, _ := set.File(other)
				return f.SHA256, g.SHA256
			}
			forge := func(from, to string) { // shows where a digest comes from
				t.Helper()
				path := filepath.Join(m.root, "digests")
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				write(t, path, strings.ReplaceAll(string(data), from, to), 0o600)
			}
			marked := strings.Repeat("ab", 32)

			record(binary)
			record(other, filepath.Join(m.root, "bin dir/etcd"))
			if a, b := ask(true); a != digest("the binary") || b != digest("another") {
				t.Fatalf("recorded digests: %s, %s", a, b)
			}
			forge(digest("the binary"), marked)
			if a, b := ask(true); a != marked || b != digest("another") {
				t.Errorf("a recorded digest was not used: %s, %s", a, b)
			}
			if a, _ := ask(false); a != digest("the binary") {
				t.Errorf("a recorded digest was used without trust: %s", a)
			}
			forge(marked, "zz"+marked[2:])
			if a, _ := ask(true); a != digest("the binary") {
				t.Errorf("a broken record was used: %s", a)
			}
			forge("zz"+marked[2:], marked)
			// Same size, same mtime: only the inode's change time tells.
			info, err := os.Stat(binary)
			if err != nil {
				t.Fatal(err)
			}
			write(t, binary, "THE BINARY", 0o755)
			if err := os.Chtimes(binary, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
			if a, _ := ask(true); a != digest("THE BINARY") {
				t.Errorf("a changed file was trusted: %s", a)
			}
			// The next record forgets files that are gone.
			if err := os.Remove(other); err != nil {
				t.Fatal(err)
			}
			record(binary)
			data, err := os.ReadFile(filepath.Join(m.root, "digests"))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), "\n"); n != 1 || !strings.HasPrefix(string(data), digest("THE BINARY")+" ") {
				t.Errorf("record holds %q", data)
			}
		})
	}
	if _, err := RecordDigests([]string{"/a\nb"}); err == nil {
		t.Error("a path with a newline was accepted")
	}
}

func TestOtherKinds(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) { testOtherKinds(t, newMachine(t, shell)) })
	}
}

func testOtherKinds(t *testing.T, m *machine) {
	pidMax, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	firewall := func(args ...string) fact.Query {
		return fact.Query{Kind: fact.KindFirewall, Name: args[0] + "/" + strings.Join(args[1:], " "), Args: args}
	}
	tests := []struct {
		query fact.Query
		want  any
	}{
		{fact.Query{Kind: fact.KindUnit, Name: "etcd.service"}, fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled", NeedDaemonReload: true, MainPID: 812}},
		{fact.Query{Kind: fact.KindUnit, Name: "no.service"}, fact.Unit{LoadState: "not-found", ActiveState: "inactive", SubState: "dead"}},
		{fact.Query{Kind: fact.KindUnit, Name: `var-lib\x2dx.mount`}, fact.Unit{LoadState: "loaded", ActiveState: "active", SubState: "mounted", UnitFileState: "generated"}},
		{fact.Query{Kind: fact.KindPackage, Name: "nginx"}, fact.Package{Installed: true, Version: "1.22.1-9+deb12u2"}},
		{fact.Query{Kind: fact.KindPackage, Name: "bird2"}, fact.Package{}},
		{fact.Query{Kind: fact.KindPackage, Name: "socat"}, fact.Package{}},
		{fact.Query{Kind: fact.KindSysctl, Name: "kernel.pid_max"}, fact.Value{Exists: true, Value: strings.TrimSpace(string(pidMax))}},
		{fact.Query{Kind: fact.KindSysctl, Name: "kernel.no_such_thing"}, fact.Value{}},
		{fact.Query{Kind: fact.KindModule, Name: "no-such-module"}, fact.Value{}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.244.1.0/24"}, fact.Route{Exists: true, Via: "10.88.0.12", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.244.2.0/24"}, fact.Route{Exists: true, Via: "10.88.0.13,10.88.0.14", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.244.0.0/16"}, fact.Route{}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.88.0.0/24"}, fact.Route{Exists: true, Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.9.9.9/32"}, fact.Route{Exists: true, Via: "10.88.0.12", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: "0.0.0.0/0"}, fact.Route{Exists: true, Via: "10.88.0.1", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.3.0.0/16"}, fact.Route{Exists: true}},
		{fact.Query{Kind: fact.KindRoute, Name: "10.4.0.0/16"}, fact.Route{Exists: true, Via: "10.88.0.8", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: fact.RouteOfMetric("10.4.0.0/16", 500)}, fact.Route{Exists: true, Via: "10.88.0.9", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: fact.RouteOfMetric("10.4.0.0/16", 64)}, fact.Route{}},
		{fact.Query{Kind: fact.KindRoute, Name: "fd01:1::/64"}, fact.Route{Exists: true, Via: "fd00::12", Device: "eth0"}},
		{fact.Query{Kind: fact.KindRoute, Name: "fd02::/64"}, fact.Route{}},
		{firewall("filter", "FORWARD", "-s", "10.244.0.0/16", "-j", "ACCEPT"), fact.Value{Exists: true, Value: "present"}},
		{firewall("filter", "FORWARD", "-s", "10.1.0.0/16", "-m", "comment", "--comment", "it's $(id)", "-j", "ACCEPT"), fact.Value{}},
		{firewall("filter", "FORWARD", "-s", "10.1.0.0/16", "-j", "DOCKER-USER"), fact.Value{}},
		{firewall("filter", "FORWARD", "-s", "fd01::/48", "-j", "ACCEPT"), fact.Value{Exists: true, Value: "present"}},
		{fact.Query{Kind: fact.KindSwitch, Name: "br0", Args: []string{"/etc/passwd"}}, fact.Switch{
			Exists: true, Datapath: "netdev", FailMode: "secure",
			Ports: map[string]fact.SwitchPort{
				"pods0":   {Error: "could not open network device pods0 (No such device)"},
				"tunnel0": {Type: "vxlan", Options: map[string]string{"key": "7", "remote_ip": "flow"}},
			},
			Flows: []string{"-priority=1 actions=drop", "+ip,nw_dst=10.244.1.0/24 actions=output:pods0"},
		}},
		{fact.Query{Kind: fact.KindSwitch, Name: "br1", Args: []string{"/etc/group"}}, fact.Switch{
			Exists: true, Ports: map[string]fact.SwitchPort{"eth1": {}},
			Flows: []string{"unreadable: exit status 1: ovs-ofctl: br1 is not a bridge or a socket"},
		}},
		{fact.Query{Kind: fact.KindSwitch, Name: "br9"}, fact.Switch{}},
		{fact.Query{Kind: fact.KindImage, Name: "registry.k8s.io/pause:3.10.1"}, fact.Image{}},
		{fact.Query{Kind: fact.KindDockerImage, Name: "kinstall.example/there:1"}, fact.Image{Observable: true, Exists: true, Digest: "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"}},
		{fact.Query{Kind: fact.KindDockerImage, Name: "kinstall.example/absent:1"}, fact.Image{Observable: true}},
		{fact.Query{Kind: fact.KindDockerImage, Name: "kinstall.example/silent:1"}, fact.Image{}},
		{fact.Query{Kind: fact.KindPath, Name: "10.88.0.12", Size: 1500}, fact.Path{Answers: true, Fits: true}},
		{fact.Query{Kind: fact.KindPath, Name: "10.88.0.13", Size: 1500}, fact.Path{Answers: true, Largest: 1400}},
		{fact.Query{Kind: fact.KindPath, Name: "fd00::12", Size: 1500}, fact.Path{Answers: true, Fits: true}},
		{fact.Query{Kind: fact.KindPath, Name: "10.88.0.14", Size: 1500}, fact.Path{}},
		{fact.Query{Kind: fact.KindNeighbor, Name: "10.88.0.40"}, fact.Neighbor{MAC: "02:42:0a:58:00:40"}},
		{fact.Query{Kind: fact.KindNeighbor, Name: "10.88.0.41"}, fact.Neighbor{}},
		{fact.Query{Kind: fact.KindNeighbor, Name: "10.88.0.11"}, fact.Neighbor{}},
		// Whoever was silent once is not asked again.
		{fact.Query{Kind: fact.KindDockerImage, Name: "kinstall.example/there:1@sha256:0"}, fact.Image{}},
	}
	var queries []fact.Query
	for _, tt := range tests {
		queries = append(queries, tt.query)
	}
	set, err := m.probe(t, queries)
	if err != nil {
		t.Fatal(err)
	}
	want := fact.NewSet(set.Host)
	for _, tt := range tests {
		want.Put(tt.query.Key(), tt.want)
	}
	if diff := cmp.Diff(want, set, cmp.AllowUnexported(fact.Set{})); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}

	for _, tt := range []struct {
		query fact.Query
		want  string
	}{
		{fact.Query{Kind: fact.KindUnit, Name: "stuck.service"}, "units: systemctl: exit status 1: Failed to get properties: Connection timed out"},
		{firewall("mangle", "FORWARD", "-j", "ACCEPT"), "firewall mangle/FORWARD -j ACCEPT: exit status 3: iptables v1.8.9"},
	} {
		_, err := m.probe(t, []fact.Query{tt.query})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got error %v, want %q", err, tt.want)
		}
	}
}

// TestParseImages covers a containerd that is there; its absence is covered above.
func TestParseImages(t *testing.T) {
	const ref = "registry.k8s.io/pause:3.10.1"
	table := "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" +
		ref + " application/vnd.oci.image.index.v1+json sha256:" + digest("x") + " 312.0 KiB linux/amd64 io.cri-containerd.image=managed \n" +
		"sha256:aaaa application/vnd.oci.image.index.v1+json sha256:" + digest("y") + " 1 B - -"
	for text, want := range map[string]fact.Image{
		"observable\n" + table:                              {Observable: true, Exists: true, Digest: "sha256:" + digest("x")},
		"observable\nREF TYPE DIGEST SIZE PLATFORMS LABELS": {Observable: true},
		"observable":   {Observable: true},
		"unobservable": {},
	} {
		p := parser{answers: map[string]answer{"images": {text: []byte(text)}}, used: map[string]bool{}}
		set := fact.NewSet(fact.Host{})
		p.images(set, []fact.Query{{Kind: fact.KindImage, Name: ref}})
		got, err := set.Image(ref)
		if err != nil || len(p.errs) > 0 {
			t.Errorf("%q: %v %v", text, err, p.errs)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestHost(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, shell)
			state := fact.State{Version: 1, Cluster: "wuxia", Resources: map[string]fact.Record{"file:/etc/日本": {Digest: "d"}}}
			write(t, filepath.Join(m.root, "state.json"), string(state.Format()), 0o600)
			before := time.Now().Add(-time.Second)
			set, err := m.probe(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := set.Host
			hostname, err := os.Hostname()
			if err != nil {
				t.Fatal(err)
			}
			if got.Hostname != hostname {
				t.Errorf("hostname %q, want %q", got.Hostname, hostname)
			}
			if got.Time.Before(before) || got.Time.After(time.Now()) {
				t.Errorf("time %v is not now", got.Time)
			}
			if got.CPUs < 1 || got.MemoryBytes < 1<<20 || got.Kernel == "" || got.Architecture == "" || got.OS == "" {
				t.Errorf("missing facts: %+v", got)
			}
			var fs syscall.Statfs_t
			if err := syscall.Statfs("/", &fs); err != nil {
				t.Fatal(err)
			}
			if avail := int64(fs.Bavail) * fs.Bsize; got.DiskFree["/"] < avail/2 || got.DiskFree["/"] > avail*2 || len(got.DiskFree) != 3 {
				t.Errorf("disk free %v, / has %d", got.DiskFree, avail)
			}
			if diff := cmp.Diff(map[int]string{22: "sshd", 2379: "etcd", 53: "", 9100: ""}, got.Listening); diff != "" {
				t.Errorf("listening (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[int]string{323: "chronyd", 8472: ""}, got.ListeningUDP); diff != "" {
				t.Errorf("listening on UDP (-want +got):\n%s", diff)
			}
			if len(got.Routes) > 0 {
				t.Errorf("an installed host tells all its routes: %v", got.Routes)
			}
			if err := os.Remove(filepath.Join(m.root, "state.json")); err != nil {
				t.Fatal(err)
			}
			bare, err := m.probe(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			got.Routes = bare.Host.Routes
			if want := (fact.HostRoute{Destination: "10.244.1.0/24", Route: fact.Route{Exists: true, Via: "10.88.0.12", Device: "eth0"}}); len(got.Routes) != 8 || got.Routes[2] != want {
				t.Errorf("routes %v", got.Routes)
			}
			if got.Duplicate != "" {
				t.Errorf("an installed host was asked who else has its address: %s", got.Duplicate)
			}
			if diff := cmp.Diff([]string{"10.88.0.11", "fd00::11"}, got.Addresses); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string][]string{"eth0": {"10.88.0.11/24"}}, got.Interfaces); diff != "" {
				t.Errorf("interfaces (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]fact.Link{"lo": {MTU: 65536}, "eth0": {MTU: 1450, Master: "br0"}}, got.Links); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"10.88.0.0/24", "fd00::/64"}, got.Networks); diff != "" {
				t.Errorf("networks (-want +got):\n%s", diff)
			}
			if got.Interface != "eth0" || got.MTU != 1450 {
				t.Errorf("interface %q, MTU %d", got.Interface, got.MTU)
			}
			if diff := cmp.Diff(state, got.State); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}

			write(t, filepath.Join(m.root, "state.json"), `{"version": 99}`, 0o600)
			if _, err := m.probe(t, nil); err == nil || !strings.Contains(err.Error(), "newer kinstall") {
				t.Errorf("state of a newer version: error %v", err)
			}
			if err := os.Remove(filepath.Join(m.root, "state.json")); err != nil {
				t.Fatal(err)
			}
			set, err = m.probe(t, nil)
			if err != nil || len(set.Host.State.Resources) != 0 {
				t.Errorf("state of a bare host: %+v, %v", set.Host.State, err)
			}
			if set.Host.Duplicate != "02:42:0a:58:00:99" {
				t.Errorf("who else has the address of a bare host: %q", set.Host.Duplicate)
			}
			bin, _, _ := strings.Cut(m.path, ":")
			write(t, filepath.Join(bin, "arping"), "#!/bin/sh\necho 'Unicast reply from 10.88.0.11 [02:42:0A:58:00:01]  0.743ms'\n", 0o755)
			if set, err = m.probe(t, nil); err != nil || set.Host.Duplicate != "" {
				t.Errorf("a router that answers for all: %q, %v", set.Host.Duplicate, err)
			}
		})
	}
}

// TestRealTools runs the network tools of this machine against the loopback.
func TestRealTools(t *testing.T) {
	for _, tool := range []string{"ip", "ss"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	m := newMachine(t, shells(t)["sh"])
	m.path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	text := strings.Replace(m.script(t, []fact.Query{{Kind: fact.KindRoute, Name: "203.0.113.0/24"}}), "address='10.88.0.11'", "address='127.0.0.1'", 1)
	set, err := Parse(m.run(t, text), []fact.Query{{Kind: fact.KindRoute, Name: "203.0.113.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	if set.Host.Interface != "lo" || set.Host.MTU == 0 {
		t.Errorf("interface %q, MTU %d", set.Host.Interface, set.Host.MTU)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if _, ok := set.Host.Listening[port]; !ok {
		t.Errorf("port %d is not among %v", port, set.Host.Listening)
	}
}

// The order in which systemd-sysctl reads (sysctl.d(5)), and what hides what.
func TestSysctlFiles(t *testing.T) {
	got := parseSysctlFiles(strings.Join([]string{
		"/etc/sysctl.d/50-empty.conf:",
		"/etc/sysctl.d/99-sysctl.conf:net.ipv4.ip_forward=0",
		"/etc/sysctl.d/99-kinstall.conf:net.ipv4.ip_forward = 1",
		"/etc/sysctl.d/20-odd.conf:  -net/ipv4/conf/eth0.100/rp_filter =  2  ",
		"/etc/sysctl.d/20-odd.conf:net.ipv4.conf.*.rp_filter = 2",
		"/etc/sysctl.d/20-odd.conf:nonsense",
		"/run/sysctl.d/10-early.conf:kernel.pid_max = 1",
		"/usr/lib/sysctl.d/50-empty.conf:net.ipv4.ip_forward = 0",
		"/usr/lib/sysctl.d/10-early.conf:kernel.pid_max = 2",
		"/usr/lib/sysctl.d/50-ports.conf:net.ipv4.ip_local_port_range = 1024\t65535",
	}, "\n"))
	want := []fact.SysctlLine{
		{File: "/run/sysctl.d/10-early.conf", Key: "kernel.pid_max", Value: "1"},
		{File: "/etc/sysctl.d/20-odd.conf", Key: "net.ipv4.conf.eth0/100.rp_filter", Value: "2"},
		{File: "/usr/lib/sysctl.d/50-ports.conf", Key: "net.ipv4.ip_local_port_range", Value: "1024 65535"},
		{File: "/etc/sysctl.d/99-kinstall.conf", Key: "net.ipv4.ip_forward", Value: "1"},
		{File: "/etc/sysctl.d/99-sysctl.conf", Key: "net.ipv4.ip_forward", Value: "0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("assignments (-want +got):\n%s", diff)
	}
}

func TestScriptRefuses(t *testing.T) {
	for _, q := range []fact.Query{
		{Kind: fact.KindFile, Name: "/a\nb"},
		{Kind: fact.KindFile, Name: "/a\x00b"},
		{Kind: fact.KindFile, Name: "relative"},
		{Kind: fact.KindFile, Name: ""},
		{Kind: fact.KindFile, Name: "/a", WantSHA256: "ABC"},
		{Kind: fact.KindUnit, Name: "--version"},
		{Kind: fact.KindUnit, Name: "*.service"},
		{Kind: fact.KindPackage, Name: "ngin*"},
		{Kind: fact.KindSysctl, Name: "net..ipv4"},
		{Kind: fact.KindSysctl, Name: "net/../../etc/shadow"},
		{Kind: fact.KindModule, Name: "../x"},
		{Kind: fact.KindDockerImage, Name: "$(id)"},
		{Kind: fact.KindRoute, Name: "somewhere"},
		{Kind: fact.KindPath, Name: "$(id)", Size: 1500},
		{Kind: fact.KindPath, Name: "fe80::1%eth0", Size: 1500},
		{Kind: fact.KindPath, Name: "10.0.0.2", Size: 0},
		{Kind: fact.KindNeighbor, Name: "10.0.0.2;id"},
		{Kind: fact.KindSwitch, Name: "br0;id"},
		{Kind: fact.KindSwitch, Name: "br0", Args: []string{"/etc/it's"}},
		{Kind: fact.KindFirewall, Name: "x", Args: []string{"filter", "FORWARD"}},
		{Kind: fact.KindFirewall, Name: "x", Args: []string{"filter", "-F", "-j", "ACCEPT"}},
		{Kind: fact.KindStaticPod, Name: "kube-apiserver"},
		{Kind: fact.KindStaticPod, Name: "*", Args: []string{"kube-system", "emei"}},
		{Kind: fact.KindStaticPod, Name: "kube-apiserver", Args: []string{"kube-system", "../x"}},
		{Kind: fact.KindNode, Name: "emei"},
		{Kind: "weather", Name: "tomorrow"},
	} {
		if _, err := Script([]fact.Query{q}, "10.0.0.1"); err == nil {
			t.Errorf("%s %q was accepted", q.Kind, q.Name)
		}
	}
	if _, err := Script(nil, "$(reboot)"); err == nil {
		t.Error("a strange address was accepted")
	}
}

func TestSysctlPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":              "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/100.rp_filter": "net/ipv4/conf/eth0.100/rp_filter",
		"net/ipv4/conf/eth0.100/rp_filter": "net/ipv4/conf/eth0.100/rp_filter",
	} {
		if got, err := SysctlPath(key); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", key, got, err, want)
		}
	}
}

func TestScriptGolden(t *testing.T) {
	text, err := Script([]fact.Query{
		{Kind: fact.KindFile, Name: "/etc/hosts", Content: true},
		{Kind: fact.KindFile, Name: "/etc/it's $(odd)", WantSHA256: digest("x"), Content: true},
		{Kind: fact.KindFile, Name: "/usr/local/bin/etcd", Trusted: true},
		{Kind: fact.KindFirewall, Name: "filter/FORWARD -s 10.244.0.0/16 -j ACCEPT", Args: []string{"filter", "FORWARD", "-s", "10.244.0.0/16", "-j", "ACCEPT"}},
		{Kind: fact.KindImage, Name: "registry.k8s.io/pause:3.10.1"},
		{Kind: fact.KindDockerImage, Name: "registry.k8s.io/pause:3.10.1"},
		{Kind: fact.KindModule, Name: "br-netfilter"},
		{Kind: fact.KindPath, Name: "10.27.53.32", Size: 1500},
		{Kind: fact.KindNeighbor, Name: "10.27.53.40"},
		{Kind: fact.KindPackage, Name: "nginx"},
		{Kind: fact.KindRoute, Name: "10.244.1.0/24"},
		{Kind: fact.KindRoutes, Name: fact.RoutesOfMetric(64), WantSHA256: digest("x"), Args: []string{"10.244.0.0/24 via 10.27.52.72"}},
		{Kind: fact.KindSysctl, Name: "net.ipv4.ip_forward"},
		{Kind: fact.KindUnit, Name: "etcd.service"},
		{Kind: fact.KindUnit, Name: "kubelet.service"},
		{Kind: fact.KindStaticPod, Name: "kube-apiserver", Args: []string{"kube-system", "emei"}},
		{Kind: fact.KindSwitch, Name: "br0", Args: []string{"/etc/kinstall/openvswitch.flows"}},
		{Kind: fact.KindSwitch, Name: "br-underlay"},
		{Kind: fact.KindEtcdData, Name: "/var/lib/etcd/member/wal"},
		{Kind: fact.KindCertificates, Name: "/var/lib/kubelet/pki/kubelet-client-current.pem"},
	}, "10.27.52.72")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "script.golden")
	_, generated, ok := strings.Cut(text, body)
	if !ok {
		t.Fatal("the script does not begin with its body")
	}
	if *update {
		write(t, golden, generated, 0o644)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), generated); diff != "" {
		t.Errorf("generated part (-want +got):\n%s", diff)
	}
}

// A file's content stays where it is when kinstall's block in it is as wanted,
// and comes whenever there is anything to say about that block.
func TestBlock(t *testing.T) {
	const block = "# BEGIN kinstall hosts\n10.0.0.1 a\n10.0.0.2 b\n# END kinstall hosts\n"
	for shellName, shell := range shells(t) {
		for name, c := range map[string]struct {
			content string
			wanted  bool
		}{
			"as wanted":             {"127.0.0.1 localhost\n" + block + "::1 localhost\n", true},
			"nothing but the block": {block, true},
			"no block":              {"127.0.0.1 localhost\n", false},
			"empty":                 {"", false},
			"another line":          {strings.Replace(block, "10.0.0.2", "10.0.0.3", 1), false},
			"an end too many":       {"# END kinstall hosts\n" + block, false},
			"an end too many below": {block + "# END kinstall hosts\n", false},
			"twice":                 {block + block, false},
			"without an end":        {strings.TrimSuffix(block, "# END kinstall hosts\n"), false},
			"no newline at its end": {strings.TrimSuffix(block, "\n"), false},
			"lines of DOS":          {strings.ReplaceAll(block, "\n", "\r\n"), false},
			"another block":         {strings.ReplaceAll(block, "hosts", "others") + block, false},
		} {
			t.Run(shellName+"/"+name, func(t *testing.T) {
				m := newMachine(t, shell)
				path := filepath.Join(m.root, "hosts")
				write(t, path, c.content, 0o644)
				q := fact.Query{Kind: fact.KindFile, Name: path, Content: true, Block: true, WantSHA256: digest(block)}
				set, err := m.probe(t, []fact.Query{q})
				if err != nil {
					t.Fatal(err)
				}
				got, err := set.File(path)
				if err != nil {
					t.Fatal(err)
				}
				if got.SHA256 != digest(c.content) || got.Size != int64(len(c.content)) {
					t.Errorf("digest %s and size %d are not the file's", got.SHA256, got.Size)
				}
				if got.BlockAsWanted != c.wanted {
					t.Errorf("as wanted: %v, want %v", got.BlockAsWanted, c.wanted)
				}
				if got.HasContent == c.wanted || !c.wanted && string(got.Content) != c.content {
					t.Errorf("content %q (%v)", got.Content, got.HasContent)
				}
			})
		}
	}
}
