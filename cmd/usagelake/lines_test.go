package main

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	mostColumns = 120 // of a line; a tab counts one
	mostLines   = 700 // of a file
)

// Whoever reads two files side by side sees whole lines. A text that people read, a query or a URL may make its line
// longer.
func TestLinesAndFilesAreShort(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "bin" || path != root && strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		texts := linesOfTexts(src)
		lines := strings.Split(string(src), "\n")
		for i, line := range lines {
			if utf8.RuneCountInString(line) > mostColumns && !texts[i+1] {
				t.Errorf("%s:%d: %d columns", path, i+1, utf8.RuneCountInString(line))
			}
		}
		if len(lines) > mostLines+1 {
			t.Errorf("%s: %d lines: what does it hide?", path, len(lines)-1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// linesOfTexts are the lines on which a text stands.
func linesOfTexts(src []byte) map[int]bool {
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, 0)
	out := map[int]bool{}
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return out
		}
		if tok == token.STRING {
			for n := range 1 + strings.Count(text, "\n") {
				out[file.Line(pos)+n] = true
			}
		}
	}
}
