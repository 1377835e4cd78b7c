package provision

import (
	"testing"

	"github.com/kinstall/kinstall/plan/fact"
)

// What differs in a record is written, and what does not is not.
func TestStateIsWrittenWhenARecordDiffers(t *testing.T) {
	record := fact.Record{Digest: "d", Files: map[string]string{"/a": "1"}, Inputs: map[string]string{"file:/a": "1"}, Started: "boot/1"}
	for name, test := range map[string]struct {
		record fact.Record
		write  bool
	}{
		"the same":        {record, false},
		"another digest":  {fact.Record{Digest: "e", Files: record.Files, Inputs: record.Inputs, Started: record.Started}, true},
		"another file":    {fact.Record{Digest: "d", Files: map[string]string{"/a": "2"}, Inputs: record.Inputs, Started: record.Started}, true},
		"another input":   {fact.Record{Digest: "d", Files: record.Files, Started: record.Started}, true},
		"another process": {fact.Record{Digest: "d", Files: record.Files, Inputs: record.Inputs, Started: "boot/2"}, true},
	} {
		var keeper stateKeeper
		keeper.load(fact.State{Resources: map[string]fact.Record{"unit:a.service": record}})
		keeper.put("unit:a.service", test.record)
		if written := keeper.take() != nil; written != test.write {
			t.Errorf("%s: written: %v", name, written)
		}
	}
}
