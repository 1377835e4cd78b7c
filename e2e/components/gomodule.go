package components

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// goModule is a build of programs in a throw-away module that requires theirs.
// As plain data it is also the recipe of what it builds.
//
// Only the modules required here are named: each brings the versions of all its
// dependencies, as it would where it is the main module. `go build -mod=mod`
// writes them into go.mod and go.sum by itself; a `go mod tidy` first would
// fetch, besides, everything their tests need.
type goModule struct {
	Require  []moduleVersion
	Replace  []replacement
	Main     string            // source of main.go, for a program of the lab's own
	Programs []string          // import paths; empty means Main
	Names    map[string]string // program's file name by import path, where it isn't the path's end
	X        map[string]string // string variables set by the linker
	CGO      bool              // with cgo, linked statically
}

type moduleVersion struct {
	Path    string
	Version string
}

// replacement is a replace directive.
type replacement struct {
	Old string
	New moduleVersion
}

// ownModule is the path of the throw-away module, and so the import path of the
// program whose source is in Main. Nothing outside sees it.
const ownModule = "kinstall.example/program"

// goLanguage is the language version of Main; dependencies that want a newer one
// raise it.
const goLanguage = "1.26.0"

func (m goModule) goMod() string {
	var b strings.Builder
	fmt.Fprintf(&b, "module %s\n\ngo %s\n", ownModule, goLanguage)
	for _, r := range m.Require {
		fmt.Fprintf(&b, "\nrequire %s %s\n", r.Path, r.Version)
	}
	for _, r := range m.Replace {
		fmt.Fprintf(&b, "\nreplace %s => %s %s\n", r.Old, r.New.Path, r.New.Version)
	}
	return b.String()
}

// build builds the programs and returns the folder that holds them.
func (m goModule) build(ctx context.Context, w *workshop) (string, error) {
	dir, err := w.mkdir("module")
	if err != nil {
		return "", err
	}
	bin, err := w.mkdir("bin")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(m.goMod()), 0o644); err != nil {
		return "", err
	}
	programs := m.Programs
	if m.Main != "" {
		if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(m.Main), 0o644); err != nil {
			return "", err
		}
		programs = append(slices.Clone(programs), ownModule)
	}
	argv := []string{"go", "build", "-trimpath", "-ldflags", m.ldflags(), "-o", bin + "/"}
	if _, err := w.run(ctx, command{dir: dir, env: m.env(), argv: append(argv, programs...)}); err != nil {
		return "", err
	}
	for _, p := range programs {
		if name, ok := m.Names[p]; ok {
			if err := os.Rename(filepath.Join(bin, programName(p)), filepath.Join(bin, name)); err != nil {
				return "", err
			}
		}
	}
	return bin, nil
}

// env detaches the build from the caller's own module, workspace and flags. The
// proxy and checksum database stay as the user has set them.
func (m goModule) env() []string {
	cgo := "0"
	if m.CGO {
		cgo = "1"
	}
	return append(moduleEnv(), "CGO_ENABLED="+cgo, "GOOS="+goos, "GOARCH="+goarch)
}

func moduleEnv() []string {
	return []string{"GOWORK=off", "GOFLAGS=-mod=mod -buildvcs=false"}
}

func (m goModule) ldflags() string {
	flags := []string{"-s", "-w"}
	for _, name := range slices.Sorted(maps.Keys(m.X)) {
		flags = append(flags, "-X", name+"="+m.X[name])
	}
	if m.CGO {
		flags = append(flags, "-extldflags", "-static")
	}
	return strings.Join(flags, " ")
}

// programName is the file name `go build -o DIR/` gives a program: the last
// element of its import path that is not a major version.
func programName(importPath string) string {
	base := path.Base(importPath)
	if majorVersion.MatchString(base) {
		return path.Base(path.Dir(importPath))
	}
	return base
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// stagedModules returns the replace directives that the module needs to be built
// from outside its repository: those that its own go.mod points at a folder
// below ./staging, turned to the version under which each is published.
func stagedModules(ctx context.Context, w *workshop, module moduleVersion, published string) ([]replacement, error) {
	dir, err := w.mkdir("download")
	if err != nil {
		return nil, err
	}
	var download struct{ GoMod string }
	err = w.runJSON(ctx, command{dir: dir, env: moduleEnv(),
		argv: []string{"go", "mod", "download", "-json", module.Path + "@" + module.Version}}, &download)
	if err != nil {
		return nil, err
	}
	var goMod struct {
		Replace []struct {
			Old struct{ Path string }
			New struct{ Path string }
		}
	}
	err = w.runJSON(ctx, command{dir: dir, env: moduleEnv(),
		argv: []string{"go", "mod", "edit", "-json", download.GoMod}}, &goMod)
	if err != nil {
		return nil, err
	}
	var staged []replacement
	for _, r := range goMod.Replace {
		if strings.HasPrefix(r.New.Path, "./staging/") {
			staged = append(staged, replacement{Old: r.Old.Path, New: moduleVersion{r.Old.Path, published}})
		}
	}
	if len(staged) == 0 {
		return nil, fmt.Errorf("go.mod of %s %s replaces no staged module: its layout has changed", module.Path, module.Version)
	}
	return staged, nil
}

// runJSON runs a command that prints one JSON object.
func (w *workshop) runJSON(ctx context.Context, c command, into any) error {
	out, err := w.run(ctx, c)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("%s: read its output: %w", strings.Join(c.argv[:min(3, len(c.argv))], " "), err)
	}
	return nil
}
