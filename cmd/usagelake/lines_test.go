package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxColumns = 120 // of a line; a tab counts one
	maxLines   = 700 // of a file
)

// Whoever reads two files side by side sees whole lines. What can't be broken may be longer: a URL, a struct's tag.
func TestLinesAndFilesAreShort(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "bin" || path != root && strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".sql" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tags := linesOfTags(t, path, src)
		lines := strings.Split(string(src), "\n")
		for i, line := range lines {
			if n := utf8.RuneCountInString(line); n > maxColumns && !tags[i+1] && !strings.Contains(line, "https://") {
				t.Errorf("%s:%d: %d columns", path, i+1, n)
			}
		}
		if len(lines) > maxLines+1 {
			t.Errorf("%s: %d lines: what does it hide?", path, len(lines)-1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// linesOfTags are the lines on which a struct's tag ends.
func linesOfTags(t *testing.T, path string, src []byte) map[int]bool {
	out := map[int]bool{}
	if filepath.Ext(path) != ".go" {
		return out
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok && f.Tag != nil {
			out[files.Position(f.Tag.End()).Line] = true
		}
		return true
	})
	return out
}
