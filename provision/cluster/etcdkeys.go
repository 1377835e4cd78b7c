package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kinstall/kinstall/plan/fact"
	"github.com/kinstall/kinstall/plan/resource"
)

// ErrNoEtcd is returned when no member of etcd listens: it does not exist yet.
var ErrNoEtcd = errors.New("no etcd member answers")

const (
	// pageSize is how many keys are asked for at a time, and writesAtOnce how
	// many are changed in one transaction, well below etcd's limits (1.5 MiB a
	// message, 128 operations a transaction).
	pageSize     = 1000
	writesAtOnce = 100
)

// EtcdKeys reads all keys below a prefix, through the first member that
// answers. The error matches ErrNoEtcd when none listens.
func EtcdKeys(ctx context.Context, members []Member, tlsConfig *tls.Config, prefix string) (fact.Etcd, error) {
	found := fact.Etcd{Keys: map[string]string{}}
	err := throughOne(ctx, members, tlsConfig, func(ctx context.Context, kv pb.KVClient) error {
		clear(found.Keys)
		from, revision := []byte(prefix), int64(0)
		for {
			page, err := kv.Range(ctx, &pb.RangeRequest{Key: from, RangeEnd: endOf(prefix), Limit: pageSize, Revision: revision})
			if err != nil {
				return err
			}
			for _, entry := range page.Kvs {
				found.Keys[string(entry.Key)] = string(entry.Value)
				from = append(bytes.Clone(entry.Key), 0)
			}
			if !page.More {
				return nil
			}
			revision = page.Header.Revision // all pages are of one moment
		}
	})
	if err != nil {
		return fact.Etcd{}, fmt.Errorf("read etcd keys %s: %w", prefix, err)
	}
	return found, nil
}

// WriteEtcdKeys writes and deletes keys, as far as they are still as Before
// says; a key that has changed since makes the transaction it is in fail.
func WriteEtcdKeys(ctx context.Context, members []Member, tlsConfig *tls.Config, writes []resource.EtcdWrite) error {
	for len(writes) > 0 {
		n := min(len(writes), writesAtOnce)
		if err := writeOnce(ctx, members, tlsConfig, writes[:n]); err != nil {
			return err
		}
		writes = writes[n:]
	}
	return nil
}

func writeOnce(ctx context.Context, members []Member, tlsConfig *tls.Config, writes []resource.EtcdWrite) error {
	txn := &pb.TxnRequest{}
	for _, w := range writes {
		key := []byte(w.Key)
		if w.Before == "" {
			txn.Compare = append(txn.Compare, &pb.Compare{Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_CreateRevision{}})
		} else {
			txn.Compare = append(txn.Compare, &pb.Compare{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(w.Before)}})
		}
		op := &pb.RequestOp{}
		if w.After == "" {
			op.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}
		} else {
			op.Request = &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(w.After)}}
		}
		txn.Success = append(txn.Success, op)
	}
	err := throughOne(ctx, members, tlsConfig, func(ctx context.Context, kv pb.KVClient) error {
		response, err := kv.Txn(ctx, txn)
		if err == nil && !response.Succeeded {
			err = errors.New("a key was changed by somebody else in the meantime; plan again")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write etcd key %s and %d more: %w", writes[0].Key, len(writes)-1, err)
	}
	return nil
}

// DeleteEtcdKeys deletes all keys below a prefix.
func DeleteEtcdKeys(ctx context.Context, members []Member, tlsConfig *tls.Config, prefix string) error {
	err := throughOne(ctx, members, tlsConfig, func(ctx context.Context, kv pb.KVClient) error {
		_, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(prefix), RangeEnd: endOf(prefix)})
		return err
	})
	if err != nil {
		return fmt.Errorf("delete etcd keys %s: %w", prefix, err)
	}
	return nil
}

// throughOne does something through the first member that answers. What a
// member says is final: requests are the same through each of them.
func throughOne(ctx context.Context, members []Member, tlsConfig *tls.Config, do func(context.Context, pb.KVClient) error) error {
	failure, absent := ErrNoEtcd, true
	for _, m := range members {
		err := through(ctx, m, tlsConfig, do)
		if code := status.Code(err); err == nil || ctx.Err() != nil || code != codes.Unavailable && code != codes.DeadlineExceeded {
			return err
		}
		if text := errors.New(reason(err)); !refused(text) {
			absent = false
			failure = fmt.Errorf("%s: %w", m.Name, text)
		} else if absent {
			failure = fmt.Errorf("%w (%s: %w)", ErrNoEtcd, m.Name, text)
		}
	}
	return failure
}

func through(ctx context.Context, m Member, tlsConfig *tls.Config, do func(context.Context, pb.KVClient) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var conn *grpc.ClientConn
	if conn, err = connect(m, tlsConfig); err != nil {
		return err
	}
	defer conn.Close()
	return do(ctx, pb.NewKVClient(conn))
}

// endOf is the key behind all keys with a prefix.
func endOf(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++ // a slash, as a rule; never 0xff
	return end
}
