package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

func applyAuthority(_ context.Context, t *task) (fact.Record, error) {
	a, err := want[resource.Authority](t)
	if err != nil {
		return fact.Record{}, err
	}
	return fact.Record{}, t.executor.Authorities.Create(a)
}

func applyLockFile(_ context.Context, t *task) (fact.Record, error) {
	l, err := want[resource.LockFile](t)
	if err != nil {
		return fact.Record{}, err
	}
	found, err := os.ReadFile(l.Path)
	if err != nil && !os.IsNotExist(err) {
		return fact.Record{}, err
	}
	if string(found) != string(l.Before) {
		return fact.Record{}, fmt.Errorf("%s: %w", l.Path, ErrStale)
	}
	return fact.Record{}, replaceFile(l.Path, l.After)
}

// replaceFile writes a file of the operator's machine atomically.
func replaceFile(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".kinstall.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed, which is as wanted
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o644) // a lock file holds no secret and is committed
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	return err
}

func applyNode(ctx context.Context, t *task) (fact.Record, error) {
	n, err := want[resource.Node](t)
	if err != nil {
		return fact.Record{}, err
	}
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	t.report("waiting for the kubelet to register")
	return fact.Record{}, client.ApplyNode(ctx, n)
}

func applyObject(ctx context.Context, t *task) (fact.Record, error) {
	o, err := want[resource.Object](t)
	if err != nil {
		return fact.Record{}, err
	}
	client, err := t.executor.kubernetes(ctx)
	if err != nil {
		return fact.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	return fact.Record{}, client.ApplyObject(ctx, o)
}
