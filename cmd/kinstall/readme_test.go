package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadme runs what the README shows: its inventory and each of its
// kinstall commands, in its order, against an imagined fleet.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindSubmatch(readme)
	if example == nil {
		t.Fatal("the README shows no inventory")
	}
	commands := regexp.MustCompile(`(?m)^    kinstall (.*?)(?:\s+#.*)?$`).FindAllSubmatch(readme, -1)
	if len(commands) < 5 {
		t.Fatalf("the README shows %d commands", len(commands))
	}
	for _, command := range commands {
		args := strings.Fields(string(command[1]))
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			th := newTheater(t)
			th.fleet.apply = succeed
			if args[0] != "init" {
				write(t, "inventory.hcl", string(example[1]))
			}
			if args[0] == "apply" {
				args = append(args, "-yes") // the question is asked elsewhere
			}
			if code := th.run(args...); code != 0 {
				t.Errorf("exit code %d\n%s%s", code, th.out.String(), th.err.String())
			}
		})
	}
}
