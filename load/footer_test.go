package load

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas/schemastest"
)

// dayFile is a day file of a lake, whole.
func dayFile(t testing.TB) []byte {
	t.Helper()
	l := newTestLake(t, Options{})
	rec := schemastest.UsageRows(memory.DefaultAllocator, 100, 1)
	defer rec.Release()
	w, err := l.CreateDay(schemastest.Day)
	must(t, err)
	must(t, w.Write(rec))
	must(t, w.Commit(dayFooter(100, 0)))
	content, err := os.ReadFile(l.UsagePath(schemastest.Day))
	must(t, err)
	return content
}

// asTheLibraryReads is the key-value metadata of a Parquet file as arrow-go reads it; nil if it can't.
func asTheLibraryReads(content []byte) (values map[string]string) {
	defer func() {
		if recover() != nil {
			values = nil
		}
	}()
	r, err := file.NewParquetReader(bytes.NewReader(content))
	if err != nil {
		return nil
	}
	values = map[string]string{}
	for _, pair := range r.MetaData().FileMetaData.KeyValueMetadata {
		if _, twice := values[pair.Key]; !twice {
			values[pair.Key] = pair.GetValue()
		}
	}
	return values
}

func quickly(t testing.TB, content []byte) (map[string]string, bool) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.parquet")
	must(t, os.WriteFile(name, content, 0o600))
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	return keyValues(f)
}

// TestFooterValuesAreTheLibrarys: of a day file, and of files of any columns, row groups and texts.
func TestFooterValuesAreTheLibrarys(t *testing.T) {
	content := dayFile(t)
	values, ok := quickly(t, content)
	if want := asTheLibraryReads(content); !ok || len(want) < 3 || !maps.Equal(values, want) {
		t.Errorf("of a day file:\n%v, %v\nthe library:\n%v", values, ok, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		var fields schema.FieldList
		for range rapid.IntRange(1, 80).Draw(t, "columns") {
			name := rapid.StringN(1, 40, -1).Draw(t, "name")
			fields = append(fields, schema.NewByteArrayNode(name, parquet.Repetitions.Optional, -1))
		}
		root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, fields, -1)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		pairs := metadata.NewKeyValueMetadata()
		for range rapid.IntRange(0, 20).Draw(t, "pairs") {
			_ = pairs.Append(rapid.String().Draw(t, "key"), rapid.StringN(0, 3000, -1).Draw(t, "value"))
		}
		w := file.NewParquetWriter(&out, root, file.WithWriteMetadata(pairs))
		for range rapid.IntRange(0, 3).Draw(t, "row groups") {
			group, err := w.AppendRowGroupChecked()
			if err != nil {
				t.Fatal(err)
			}
			for range fields {
				column, err := group.NextColumn()
				if err != nil {
					t.Fatal(err)
				}
				text := []parquet.ByteArray{parquet.ByteArray(rapid.String().Draw(t, "text"))}
				if _, err := column.(*file.ByteArrayColumnChunkWriter).WriteBatch(text, []int16{1}, nil); err != nil {
					t.Fatal(err)
				}
				_ = column.Close()
			}
			_ = group.Close()
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		size := int(binary.LittleEndian.Uint32(out.Bytes()[out.Len()-8:]))
		got, ok := metadataOf(out.Bytes()[out.Len()-8-size : out.Len()-8])
		if want := asTheLibraryReads(out.Bytes()); !ok || !maps.Equal(got, want) {
			t.Fatalf("%v, %v\nthe library: %v", got, ok, want)
		}
	})
}

// FuzzFooter: whatever the footer holds, nothing panics or hangs, and what both can read they read the same.
func FuzzFooter(f *testing.F) {
	content := dayFile(f)
	size := int(binary.LittleEndian.Uint32(content[len(content)-8:]))
	body, footer := content[:len(content)-8-size], content[len(content)-8-size:len(content)-8]
	f.Add(footer)
	f.Fuzz(func(t *testing.T, footer []byte) {
		values, ok := metadataOf(footer)
		if !ok {
			return
		}
		whole := append(bytes.Clone(body), footer...)
		whole = append(binary.LittleEndian.AppendUint32(whole, uint32(len(footer))), "PAR1"...)
		if want := asTheLibraryReads(whole); want != nil && !maps.Equal(values, want) {
			t.Errorf("%v\nthe library: %v", values, want)
		}
	})
}

func BenchmarkFooter(b *testing.B) {
	name := filepath.Join(b.TempDir(), "file.parquet")
	must(b, os.WriteFile(name, dayFile(b), 0o600))
	for _, way := range []struct {
		name string
		read func(f *os.File) bool
	}{
		{"stepped-over", func(f *os.File) bool { _, ok := keyValues(f); return ok }},
		{"library", func(f *os.File) bool { _, err := readFooter(f); return err == nil }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := os.Open(name)
				must(b, err)
				if !way.read(f) {
					b.Fatal("it can't be read")
				}
				_ = f.Close()
			}
		})
	}
}
