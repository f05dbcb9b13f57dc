package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// Each run asks every derived file of the lake for one text of its footer. The library makes a thousand objects of each
// footer's columns for that, so that a run of many days would do little else; here what isn't asked for is stepped
// over. What this can't step through is the library's to read, and to complain about.

// FooterValue reads a key of a Parquet file's footer, and false if the file doesn't exist.
func (l *Lake) FooterValue(path string, p schemas.Partition, key string) (string, bool, error) {
	values, err := l.footer(path, p)
	if err != nil || values == nil {
		return "", false, err
	}
	value, ok := values[key]
	if !ok {
		return "", false, derivedDamage(path, fmt.Sprintf("its footer has no %s", key), nil)
	}
	return value, true, nil
}

// footer reads what the footer of a Parquet file of p says of itself, by key; nil if the file doesn't exist.
func (l *Lake) footer(path string, p schemas.Partition) (map[string]string, error) {
	f, err := l.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read day %s: %w", p, err)
	}
	defer f.Close()
	if values, ok := keyValues(f); ok {
		return values, nil
	}
	meta, err := readFooter(f)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			return nil, fmt.Errorf("read day %s: %w", p, err)
		}
		return nil, derivedDamage(path, "it can't be read as Parquet", err)
	}
	values := map[string]string{}
	for _, pair := range meta.FileMetaData.KeyValueMetadata {
		if _, twice := values[pair.Key]; !twice {
			values[pair.Key] = pair.GetValue()
		}
	}
	return values, nil
}

// readFooter reads a Parquet footer; what the decoder makes of damaged bytes, panics included, becomes an error.
func readFooter(f durable.File) (meta *metadata.FileMetaData, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("unreadable footer: %v", r)
		}
	}()
	r, err := file.NewParquetReader(f)
	if err != nil {
		return nil, err
	}
	return r.MetaData(), nil
}

const (
	footerGuess = 16 << 10 // of a day file: one read is enough
	footerMax   = 16 << 20
)

// keyValues reads the key-value metadata of a Parquet file, and steps over the rest of its footer. false says that it
// can't: the file is damaged, encrypted, or of a kind that the lake has none of.
func keyValues(f durable.File) (map[string]string, bool) {
	info, err := f.Stat()
	if err != nil {
		return nil, false
	}
	tail, ok := tailOf(f, info.Size(), footerGuess)
	if !ok || len(tail) < 12 || string(tail[len(tail)-4:]) != "PAR1" {
		return nil, false
	}
	size := int64(binary.LittleEndian.Uint32(tail[len(tail)-8:]))
	if size > min(footerMax, info.Size()-12) {
		return nil, false
	}
	if size+8 > int64(len(tail)) {
		if tail, ok = tailOf(f, info.Size(), size+8); !ok {
			return nil, false
		}
	}
	return metadataOf(tail[int64(len(tail))-size-8 : len(tail)-8])
}

func tailOf(f durable.File, size, n int64) ([]byte, bool) {
	n = min(n, size)
	tail := make([]byte, n)
	_, err := f.ReadAt(tail, size-n)
	return tail, err == nil || errors.Is(err, io.EOF)
}

// metadataOf finds key_value_metadata, field 5 of the struct FileMetaData (parquet.thrift of apache/parquet-format), in
// Thrift's compact protocol (doc/specs/thrift-compact-protocol.md of apache/thrift).
func metadataOf(footer []byte) (map[string]string, bool) {
	t := thrift{rest: footer}
	values := map[string]string{}
	for {
		id, kind := t.field(&t.id)
		switch {
		case t.failed:
			return nil, false
		case kind == thriftStop:
			return values, len(t.rest) == 0
		case id == 5 && kind == thriftList:
			n, of := t.list()
			for range n {
				if t.failed || of != thriftStruct {
					return nil, false
				}
				key, value := t.pair()
				if _, twice := values[key]; !twice {
					values[key] = value
				}
			}
		default:
			t.skip(kind, 0)
		}
	}
}

// The types of the compact protocol.
const (
	thriftStop   = 0
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12

	thriftDepth = 16 // FileMetaData has some six
)

// thrift steps through a struct in the compact protocol. Once it has failed, whatever it returns means nothing.
type thrift struct {
	rest   []byte
	id     int64 // of the last field of the outermost struct
	failed bool
}

func (t *thrift) fail() { t.failed, t.rest = true, nil }

func (t *thrift) byte() byte {
	if len(t.rest) == 0 {
		t.fail()
		return 0
	}
	b := t.rest[0]
	t.rest = t.rest[1:]
	return b
}

func (t *thrift) uvarint() uint64 {
	v, n := binary.Uvarint(t.rest)
	if n <= 0 {
		t.fail()
		return 0
	}
	t.rest = t.rest[n:]
	return v
}

func (t *thrift) bytes(n uint64) []byte {
	if n > uint64(len(t.rest)) {
		t.fail()
		return nil
	}
	b := t.rest[:n]
	t.rest = t.rest[n:]
	return b
}

// field is the head of the next field of a struct: its number, which follows from the last one's, and its type.
func (t *thrift) field(last *int64) (id int64, kind byte) {
	head := t.byte()
	if kind = head & 15; kind == thriftStop {
		return 0, thriftStop
	}
	if delta := int64(head >> 4); delta > 0 {
		*last += delta
	} else {
		zigzag := t.uvarint()
		*last = int64(zigzag>>1) ^ -int64(zigzag&1)
	}
	return *last, kind
}

// list is the head of a list or a set. No element is shorter than a byte, so a length beyond the rest is none.
func (t *thrift) list() (n uint64, kind byte) {
	head := t.byte()
	if n = uint64(head >> 4); n == 15 {
		n = t.uvarint()
	}
	if n > uint64(len(t.rest)) {
		t.fail()
		return 0, 0
	}
	return n, head & 15
}

// pair is the struct KeyValue: 1 key, 2 value.
func (t *thrift) pair() (key, value string) {
	var last int64
	for {
		id, kind := t.field(&last)
		switch {
		case t.failed || kind == thriftStop:
			return key, value
		case id == 1 && kind == thriftBinary:
			key = string(t.bytes(t.uvarint()))
		case id == 2 && kind == thriftBinary:
			value = string(t.bytes(t.uvarint()))
		default:
			t.skip(kind, 0)
		}
	}
}

// skip steps over a field's value. Parquet's metadata has no maps.
func (t *thrift) skip(kind byte, depth int) {
	if depth > thriftDepth {
		t.fail()
		return
	}
	switch kind {
	case thriftTrue, thriftFalse: // the type is the value
	case thriftByte:
		t.byte()
	case thriftI16, thriftI32, thriftI64:
		t.uvarint()
	case thriftDouble:
		t.bytes(8)
	case thriftBinary:
		t.bytes(t.uvarint())
	case thriftList, thriftSet:
		n, of := t.list()
		for ; n > 0 && !t.failed; n-- {
			if of == thriftTrue || of == thriftFalse { // within a list it is a byte
				t.byte()
				continue
			}
			t.skip(of, depth+1)
		}
	case thriftStruct:
		for last := int64(0); !t.failed; {
			_, kind := t.field(&last)
			if kind == thriftStop {
				return
			}
			t.skip(kind, depth+1)
		}
	default:
		t.fail()
	}
}
