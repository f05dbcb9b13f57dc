package publish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/usagelake/usagelake/load/durable"
)

// parquetMagic begins and ends a Parquet file.
const parquetMagic = "PAR1"

// joinParquet makes a new Parquet file of the row groups of others that have the same columns, in order. Their pages
// are copied as they are: only the footer, which says where each stands, is written anew.
//
//	magic · the row groups of the first · those of the second · … · footer · its length in four bytes · magic
func joinParquet(target string, parts []string) (err error) {
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, durable.FileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.WriteString(parquetMagic); err != nil {
		return err
	}
	var whole *metadata.FileMetaData
	at := int64(len(parquetMagic))
	for _, path := range parts {
		footer, size, err := appendPages(out, path)
		if err != nil {
			return fmt.Errorf("join %s: %w", path, err)
		}
		moveGroups(footer, at-int64(len(parquetMagic)))
		at += size
		if whole == nil {
			whole = footer
		} else if err := whole.AppendRowGroups(footer); err != nil {
			return fmt.Errorf("join %s: %w", path, err)
		}
	}
	if whole == nil {
		return errors.New("no Parquet file to join")
	}
	for i, g := range whole.RowGroups {
		if g.Ordinal != nil {
			*g.Ordinal = int16(i)
		}
	}
	n, err := whole.WriteTo(out, nil)
	if err != nil {
		return err
	}
	_, err = out.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), parquetMagic...))
	return err
}

// appendPages copies what stands between the magic and the footer of a Parquet file, and reads the footer. size is how
// much that is, in bytes.
func appendPages(out *os.File, path string) (_ *metadata.FileMetaData, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	r, err := file.NewParquetReader(f) // which closes f from here on
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	begin := int64(len(parquetMagic))
	size = info.Size() - begin - int64(r.MetaData().Size()) - 4 - begin
	if _, err := f.Seek(begin, io.SeekStart); err != nil {
		return nil, 0, err
	}
	// CopyN of two files is done by the kernel.
	_, err = io.CopyN(out, f, size)
	return r.MetaData(), size, err
}

// moveGroups says that the row groups stand so many bytes further on.
func moveGroups(footer *metadata.FileMetaData, by int64) {
	move := func(at *int64) {
		if at != nil {
			*at += by
		}
	}
	for _, g := range footer.RowGroups {
		move(g.FileOffset)
		for _, c := range g.Columns {
			if c.FileOffset > 0 { // 0 says that the column's data tell it
				c.FileOffset += by
			}
			move(c.OffsetIndexOffset)
			move(c.ColumnIndexOffset)
			if m := c.MetaData; m != nil {
				m.DataPageOffset += by
				move(m.IndexPageOffset)
				move(m.DictionaryPageOffset)
				move(m.BloomFilterOffset)
			}
		}
	}
}
