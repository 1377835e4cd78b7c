package render_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsShowTrueOutput: what pages show of plans is part of a golden file.
func TestDocsShowTrueOutput(t *testing.T) {
	for _, page := range []string{"reading-a-plan.md", "upgrading.md"} {
		t.Run(page, func(t *testing.T) { showsTrueOutput(t, page) })
	}
}

func showsTrueOutput(t *testing.T, name string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- golden: ([a-z-]+\\.txt) -->\n```\n(.*?)```\n").FindAllStringSubmatch(string(page), -1)
	if fences := strings.Count(string(page), "\n```\n"); len(blocks)*2 != fences {
		t.Errorf("%d of %d code blocks name their golden file", len(blocks), fences/2)
	}
	for _, block := range blocks {
		golden, err := os.ReadFile(filepath.Join("testdata", block[1]))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(golden), block[2]) {
			t.Errorf("%s does not hold what the page shows of it:\n%s", block[1], block[2])
		}
	}
}
