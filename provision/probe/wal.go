package probe

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinstall/kinstall/plan/fact"
)

// The records of etcd's write-ahead log, as in its package wal: each is a length
// of 8 bytes and a message of the fields type and data, padded to a multiple of
// 8. A file begins with a checksum and with metadata, which is the message
// Metadata: whose log it is
// (https://pkg.go.dev/go.etcd.io/etcd/server/v3/storage/wal/walpb).
const (
	walFieldType    = 1
	walFieldData    = 3
	walTypeMetadata = 1
	// The upper byte of a length has the padding, if its first bit is set.
	walLengthMask = 1<<56 - 1
)

// parseEtcdData reads the beginning of a part of a write-ahead log; there is
// none where a member never got that far.
func parseEtcdData(text []byte) (any, error) {
	content, err := decode(text)
	if err != nil {
		return nil, err
	}
	if len(content) == 0 {
		return fact.EtcdData{}, nil
	}
	for len(content) >= 8 {
		frame := binary.LittleEndian.Uint64(content)
		content = content[8:]
		length, padding := frame&walLengthMask, uint64(0)
		if frame>>63 == 1 {
			padding = frame >> 56 & 0x7
		}
		if length == 0 || length+padding > uint64(len(content)) {
			break
		}
		record, err := walRecord(content[:length])
		if err != nil {
			return nil, err
		}
		if record != nil {
			metadata := pb.Metadata{}
			if err := metadata.Unmarshal(record); err != nil || metadata.NodeID == 0 {
				return nil, errors.New("the write-ahead log names no member")
			}
			return fact.EtcdData{MemberID: metadata.NodeID, ClusterID: metadata.ClusterID}, nil
		}
		content = content[length+padding:]
	}
	return nil, errors.New("the write-ahead log does not begin with whose it is")
}

// walRecord returns the data of a record that holds metadata, nil for others.
func walRecord(record []byte) ([]byte, error) {
	kind, data := uint64(0), []byte(nil)
	for len(record) > 0 {
		number, wire, n := protowire.ConsumeTag(record)
		if n < 0 {
			return nil, fmt.Errorf("unreadable record of the write-ahead log: %w", protowire.ParseError(n))
		}
		record = record[n:]
		switch {
		case number == walFieldType && wire == protowire.VarintType:
			kind, n = protowire.ConsumeVarint(record)
		case number == walFieldData && wire == protowire.BytesType:
			data, n = protowire.ConsumeBytes(record)
		default:
			n = protowire.ConsumeFieldValue(number, wire, record)
		}
		if n < 0 {
			return nil, fmt.Errorf("unreadable record of the write-ahead log: %w", protowire.ParseError(n))
		}
		record = record[n:]
	}
	if kind != walTypeMetadata {
		return nil, nil
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}
