package main

import (
	"slices"
	"time"

	"github.com/urfave/cli/v2"
)

// maxParallelism is more than one machine's network can make use of.
const maxParallelism = 1024

// variableFlags fill in an inventory's variables.
func variableFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "var", KeepSpace: true, Usage: "`NAME=VALUE` set a variable; may be repeated"},
		&cli.StringSliceFlag{Name: "var-file", KeepSpace: true, Usage: "`FILE` read variables from a file; may be repeated, the last one wins"},
	}
}

// secretFlags say where the passphrase of the authorities' keys comes from.
func secretFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` read the passphrase of the keys in pki from its first line, instead of asking"},
		&cli.StringFlag{Name: "passphrase-env", Usage: "`NAME` read it from this variable of the environment, instead of asking"},
	}
}

// hostFlags say which hosts are worked on, and how.
func hostFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "limit", Usage: "`HOST,…` only these hosts"},
		&cli.StringSliceFlag{Name: "forget", Usage: "`HOST,…` these hosts, which left the inventory, are gone for good: do not ask them (docs/hosts.md)"},
		&cli.IntFlag{Name: "parallelism", Usage: "`N` work on at most so many hosts at a time (default 32)", Action: func(c *cli.Context, n int) error {
			if n < 1 || n > maxParallelism {
				return usageError("", "kinstall %s: -parallelism %d is not between 1 and %d", c.Command.Name, n, maxParallelism)
			}
			return nil
		}},
		&cli.DurationFlag{Name: "observe-timeout", Usage: "`DURATION` a host that has not answered all questions by then counts as unreachable (default 2m0s)", Action: notNegative("observe-timeout")},
		&cli.BoolFlag{Name: "skip-unreachable", Usage: "go on without hosts that can't be reached, as far as a quorum and the others' safety allow; the plan says what is left for later"},
		&cli.BoolFlag{Name: "trust-on-first-use", Usage: "accept the key of a host that is not in known_hosts yet, and write it down there"},
	}
}

// notNegative checks a flag that is a time.
func notNegative(name string) func(*cli.Context, time.Duration) error {
	return func(c *cli.Context, d time.Duration) error {
		if d < 0 {
			return usageError("", "kinstall %s: -%s %s is negative", c.Command.Name, name, d)
		}
		return nil
	}
}

// outputFlags say how a plan is printed.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-color", Usage: "no color, as with NO_COLOR set or without a terminal"},
		&cli.BoolFlag{Name: "show-addresses", Usage: "print the address plan too: each host's pod subnet, bridge, routes"},
		&cli.BoolFlag{Name: "verbose", Usage: "show everything: new files, long diffs, what is the same on several hosts, digests in full"},
		&cli.BoolFlag{Name: "no-pager", Usage: "print to the terminal, not through $PAGER or less"},
	}
}

func joined(sets ...[]cli.Flag) []cli.Flag { return slices.Concat(sets...) }
