package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// What would take all memory or time is refused before it is made.
func TestTooMuch(t *testing.T) {
	doubling := func(first, form string, n int) string {
		text := "a0 = " + first + "\n"
		for i := range n {
			text += fmt.Sprintf("a%d = %s\n", i+1, strings.ReplaceAll(form, "X", fmt.Sprintf("local.a%d", i)))
		}
		return text
	}
	const thousand = "range(1000)"
	for name, tc := range map[string]struct{ locals, want string }{
		"product":             {"x = setproduct(range(1000), range(1000), range(1000))", "would be larger than"},
		"product of tuples":   {"a = [for i in range(1000) : [i]]\n x = setproduct(local.a, local.a, local.a)", "would be larger than"},
		"replace":             {doubling(`"aaaaaaaaaa"`, `replace(X, "a", "aaaaaaaaaa")`, 12), "would be larger than"},
		"replace nothing":     {doubling(`"aaaaaaaaaa"`, `replace(X, "", X)`, 12), "would be larger than"},
		"width":               {`x = format("%999999999d", 1)`, "would be larger than"},
		"width as argument":   {`x = format("%*d", 999999999, 1)`, "would be larger than"},
		"repeated argument":   {"x = format(\"" + strings.Repeat("%[1]s", 1000) + "\", join(\"\", [for i in range(1000) : \"" + strings.Repeat("a", 1000) + "\"]))", "would be larger than"},
		"separator":           {"x = join(join(\"\", [for i in range(1000) : \"" + strings.Repeat("a", 1000) + "\"]), range(1000))", "would be larger than"},
		"concat":              {doubling(thousand, "concat(X, X)", 40), "would be larger than"},
		"flatten":             {doubling(thousand, "flatten([X, X])", 40), "would be larger than"},
		"template":            {doubling(`"aaaaaaaaaa"`, `"${X}${X}"`, 40), "This makes too much"},
		"loop in a template":  {doubling(`"aaaaaaaaaa"`, `"%{for i in range(100)}${X}%{endfor}"`, 10), "This makes too much"},
		"shared tuples":       {doubling(thousand, "[X, X]", 60), "This makes more than"},
		"shared objects":      {doubling(thousand, "{ a = X, b = X }", 60), "This makes more than"},
		"deep tuples":         {doubling("1", "[X]", 900), "nests more than"},
		"loops":               {"x = [for a in range(1000) : [for b in range(1000) : [for c in range(1000) : c]]]", "together make too much"},
		"splat":               {"a = [for i in range(1000) : { b = i }]\n x = [for a in range(1000) : [for c in range(1000) : local.a[*].b]]", "together make too much"},
		"texts in a loop":     {"a = join(\"\", [for i in range(1000) : \"" + strings.Repeat("a", 1000) + "\"])\n x = [for i in range(1000) : \"${local.a}${i}\"]", "together make too much"},
		"number":              {"x = tostring(1e600000000)", "would be larger than"},
		"number in a text":    {`x = "a${1e60000000}"`, "makes too much"},
		"matches":             {"a = join(\"\", [for i in range(1000) : \"" + strings.Repeat("a", 1000) + "\"])\n x = regexall(\"a\", local.a)", "would be larger than"},
		"JSON, nested":        {"x = jsondecode(\"" + strings.Repeat("[", 200000) + "\")", "nested more than"},
		"YAML, nested":        {"x = yamldecode(\"" + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\")", "nested more than"},
		"YAML, aliases":       {"x = yamldecode(\"a: &a [x,x,x,x,x,x,x,x,x]\\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\\n\")", ""},
		"compared one by one": {"x = distinct(flatten([for i in range(100) : [for j in range(1000) : \"${i}-${j}\"]]))", "would be larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, diags := loadText(string(Starter())+"\nlocals {\n"+tc.locals+"\n}\n", Options{})
			runtime.ReadMemStats(&after)
			if got := render(t, nil, diags); !diags.HasErrors() || !strings.Contains(strings.Join(strings.Fields(got), " "), tc.want) {
				t.Errorf("want %q, got %.2000s", tc.want, got)
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 4000 {
				t.Errorf("%d MiB were allocated on the way", used)
			}
		})
	}
}

// What large inventories do stays possible.
func TestEnoughIsEvaluated(t *testing.T) {
	mustLoad(t, `
cluster "big" {
  version         = "1.36.3"
  pod_cidr        = "10.128.0.0/11"
  pod_subnet_size = 26
  service_cidr    = "10.64.0.0/12"
}
locals {
  common = { for i in range(20) : "label-${i}" => "value-${i}" }
  racks  = [for i in range(500) : { name = "rack-${i}", net = cidrsubnet("10.0.0.0/8", 14, i + 200) }]
  pairs  = [for a in local.racks : length([for b in local.racks : b.name if b.name != a.name])]
  hosts  = flatten([for r in slice(local.racks, 0, 100) : [for n in range(10) : { name = "${r.name}-${n}", address = cidrhost(r.net, n + 1) }]])
}
host "m" {
  address = "10.1.0.1"
  roles   = ["etcd", "master"]
}
host "w" {
  for_each = { for h in local.hosts : h.name => h.address }
  address  = each.value
  labels   = merge(local.common, { rack = split("-", each.key)[1] })
  roles    = ["worker"]
}
`)
}

// Devices, pipes and deep or large files are refused, and quickly.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		pipe:                         "a pipe, not a file",
		dir:                          "a directory, not a file",
		"/dev/zero":                  "a device, not a file",
		filepath.Join(dir, "nobody"): "no such file",
	} {
		if content, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d bytes, %v; want %q", path, len(content), err, want)
		}
		_, _, diags := Load(path, Options{HomeDir: "/home/operator"})
		if !diags.HasErrors() {
			t.Errorf("%s was loaded", path)
		}
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil { // sparse
		t.Fatal(err)
	}
	if content, err := ReadFile(large); err != nil || len(content) != maxSource+1 {
		t.Errorf("of a terabyte %d bytes were read (%v)", len(content), err)
	}
	// As in -var-file <(command).
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("x = 1\n"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err := ReadFile(fmt.Sprintf("/dev/fd/%d", reader.Fd())); err != nil || string(content) != "x = 1\n" {
		t.Errorf("an open pipe gives %q (%v)", content, err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFilesReadManyTimes(t *testing.T) {
	files := virtual{testPath: string(Starter()) + "\nlocals {\n x = [for i in range(1000) : length(file(\"big\"))]\n}\n", "/inventories/big": strings.Repeat("a", maxSource/2)}
	_, _, diags := Load(testPath, Options{HomeDir: "/home/operator", ReadFile: files.read})
	if got := render(t, nil, diags); !strings.Contains(strings.Join(strings.Fields(got), " "), "and the files read before have more than") {
		t.Errorf("got %.1000s", got)
	}
}

func TestDeepVariablesFile(t *testing.T) {
	for name, value := range map[string]string{
		"closed": `{"x": ` + strings.Repeat("[", 200000) + strings.Repeat("]", 200000) + "}",
		"open":   `{"x": ` + strings.Repeat("[", 200000),
		"braces": `{"x": ` + strings.Repeat(`{"a":`, 200000),
	} {
		files := virtual{testPath: string(Starter()), "/more.json": value}
		_, _, diags := Load(testPath, Options{HomeDir: "/home/operator", ReadFile: files.read, VarFiles: []string{"/more.json"}})
		if got := render(t, nil, diags); !strings.Contains(got, "Nested too deep") {
			t.Errorf("%s: got %.1000s", name, got)
		}
	}
}
