package resource

import (
	"fmt"

	"github.com/kinstall/kinstall/plan/fact"
)

// Member is one file taken from an artifact.
type Member struct {
	From string // path inside the archive; "" when the artifact is the file itself
	To   string // absolute path on the host
	Mode uint32 // default 0755
}

// Artifact is software from a release: one downloaded file, verified by its
// SHA-256 on the host before use, of which some members are installed.
type Artifact struct {
	Name     string // "etcd"
	Version  string
	Location string // HOST/PATH of the official download, also its path in a mirror
	SHA256   string // lower-case hex; of the download
	Members  []Member
}

// ID implements Resource.
func (a Artifact) ID() ID { return NewID(KindArtifact, a.Name) }

// Queries implements Resource.
func (a Artifact) Queries() []fact.Query {
	var queries []fact.Query
	for _, m := range a.Members {
		queries = append(queries, fact.Query{Kind: fact.KindFile, Name: m.To, Trusted: true})
	}
	return queries
}

// InputDigest implements Input.
func (a Artifact) InputDigest(fact.Set) (string, bool) { return a.SHA256, true }

// Own returns a member's ownership.
func (m Member) Own() Ownership { return Ownership{Mode: m.Mode}.withDefaults(0o755) }

// Diff implements Resource. What the members' digests must be is known from
// the host's own record of unpacking this very download.
func (a Artifact) Diff(facts fact.Set) (Change, error) {
	record, known := recorded(facts, a.ID())
	change := Change{Action: NoOp, Record: record}
	missing, drifted := 0, 0
	for _, m := range a.Members {
		found, err := facts.File(m.To)
		if err != nil {
			return Change{}, err
		}
		switch {
		case found.Exists && found.Type != "file":
			return Change{}, fmt.Errorf("%s: a %s is in the way of a file; move it aside", m.To, found.Type)
		case !found.Exists:
			missing++
			if known {
				change.because(Drift, m.To+" deleted on the host")
			}
		case known && record.Digest == a.SHA256 && found.SHA256 != record.Files[m.To]:
			drifted++
			change.because(Drift, m.To+" changed on the host")
		case found.Mode != m.Own().Mode:
			drifted++
			change.because(Drift, fmt.Sprintf("%s has mode %04o", m.To, found.Mode))
		}
	}
	switch {
	case missing == len(a.Members) && !known:
		change.Action = Create
	case record.Digest != a.SHA256:
		change.Action = Update
		if known {
			change.because(Intent, "another version is installed")
		} else {
			change.because(Missing, "exists, but was not installed by kinstall")
		}
	case missing+drifted > 0:
		change.Action = Update
	default:
		return change, nil
	}
	change.Fields = append(change.Fields, Field{Name: "version", Before: record.Version, After: a.Version}, Field{Name: "sha256", Before: record.Digest, After: a.SHA256})
	for _, m := range a.Members {
		change.Fields = append(change.Fields, Field{Name: "installs", After: m.To})
	}
	return change, nil
}

// Image is a container image imported from an archive into containerd, or
// loaded into Docker.
type Image struct {
	Reference string // under which it is known: "registry.k8s.io/pause:3.10.1"
	Location  string // HOST/PATH of the archive
	SHA256    string // of the archive
	Docker    bool   // into Docker
}

// ID implements Resource.
func (i Image) ID() ID { return NewID(KindImage, i.Reference) }

// Queries implements Resource.
func (i Image) Queries() []fact.Query {
	if i.Docker {
		return []fact.Query{{Kind: fact.KindDockerImage, Name: i.Reference}}
	}
	return []fact.Query{{Kind: fact.KindImage, Name: i.Reference}}
}

// InputDigest implements Input.
func (i Image) InputDigest(fact.Set) (string, bool) { return i.SHA256, true }

// Diff implements Resource.
func (i Image) Diff(facts fact.Set) (Change, error) {
	observed, engine := facts.Image, "containerd"
	if i.Docker {
		observed, engine = facts.DockerImage, "Docker"
	}
	found, err := observed(i.Reference)
	if err != nil {
		return Change{}, err
	}
	record, known := recorded(facts, i.ID())
	change := Change{Action: NoOp, Record: fact.Record{Digest: i.SHA256}}
	if known && record.Digest == i.SHA256 {
		if change.Record.Content = record.Content; record.Content == "" {
			change.Record.Content = found.Digest // not known before: from now on
		}
	}
	switch {
	case !found.Observable && known && record.Digest == i.SHA256:
		change.Action = Deferred
		change.because(Unknown, engine+" does not answer yet")
	case !found.Exists:
		change.Action = Create
		if known && found.Observable {
			change.because(Drift, "deleted on the host")
		}
	case record.Digest != i.SHA256:
		change.Action = Replace
		if known {
			change.because(Intent, "another archive was imported")
		} else {
			change.because(Missing, "exists, but was not imported by kinstall")
		}
	case found.Digest != change.Record.Content && found.Digest != "":
		change.Action = Replace
		change.because(Drift, "names another image than the one imported")
		change.Fields = append(change.Fields, Field{Name: "image", Before: found.Digest, After: record.Content})
		return change, nil
	default:
		return change, nil
	}
	change.Fields = append(change.Fields, Field{Name: "sha256", Before: record.Digest, After: i.SHA256})
	return change, nil
}
