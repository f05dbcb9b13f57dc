#!/usr/bin/env bash
# The Go SDK of the Model Context Protocol (github.com/modelcontextprotocol/go-sdk v1.8.0) hands whole numbers of more than 53 bits on as others, where a tool is typed (mcp.AddTool):
# what comes in and what goes out is held against the tool's schema and passes through doubles for it, though both types have an int64. Nothing is said of it.
# Seen: of an argument 9007199254740993 the tool gets ...992, and of its result 9007199254740993 the client gets ...992, in the text too. Exit status 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
cat > go.mod <<'MOD'
module numbers

go 1.25
MOD
cat > main.go <<'GO'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type number struct {
	N int64 `json:"n"`
}

func main() {
	ctx := context.Background()
	var came int64
	server := mcp.NewServer(&mcp.Implementation{Name: "numbers", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "same"}, func(_ context.Context, _ *mcp.CallToolRequest, in number) (*mcp.CallToolResult, number, error) {
		came = in.N
		return nil, number{9007199254740993}, nil
	})
	here, there := mcp.NewInMemoryTransports()
	go server.Run(ctx, here)
	client, err := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil).Connect(ctx, there, nil)
	if err != nil {
		panic(err)
	}
	res, err := client.CallTool(ctx, &mcp.CallToolParams{Name: "same", Arguments: json.RawMessage(`{"n": 9007199254740993}`)})
	if err != nil {
		panic(err)
	}
	got := fmt.Sprint(came, " ", res.Content[0].(*mcp.TextContent).Text)
	fmt.Println(got)
	if got != `9007199254740992 {"n":9007199254740992}` {
		os.Exit(1)
	}
}
GO
go get github.com/modelcontextprotocol/go-sdk@v1.8.0
go mod tidy
go run .
