package probe

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/kinstall/kinstall/provision/shell"
)

// DigestsPath is where a host keeps the digests of large files, so that they
// need not be read again while nothing about them moved: one line a file,
//
//	SHA256 INODE SIZE MTIME CTIME|PATH
//
// with the times as stat's %y and %z print them in UTC. It is a cache: without
// it, files are read.
const DigestsPath = "/var/lib/kinstall/digests"

//go:embed digests.sh
var recordBody string

// RecordDigests returns a piece of POSIX sh for a script that has just written
// the files: it reads them once more, replaces their lines in DigestsPath
// atomically, and drops the lines of files that are gone. It defines functions
// that begin with record_digests, touches no variable of the script, prints a
// line "SHA256  PATH" for each file, and leaves a non-zero status when it
// failed. Pieces may run at the same time.
func RecordDigests(paths []string) (string, error) { return recordDigests(paths, DigestsPath) }

func recordDigests(paths []string, digestsPath string) (string, error) {
	for _, path := range paths {
		if err := checkPath(path); err != nil {
			return "", fmt.Errorf("record digest of %q: %w", path, err)
		}
	}
	return recordBody + "record_digests " + shell.Quote(digestsPath) + " " + shell.Quote(strings.Join(paths, "\n")) + " </dev/null\n", nil
}
