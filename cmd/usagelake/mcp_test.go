package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// A client of the protocol's own SDK starts the program, as an assistant's does, asks it, and has it end.
func TestAnAssistantsClientIsAnswered(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	w.Day(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-11-02")},
		[4]string{"a", "tk_1", "gpt-5", "0.100000000001"}, [4]string{"b", "tk_1", "gpt-5", "0.2"})
	w.Publish(publish.PublishOptions{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "mcp", "--quiet", "--lake", w.Lake.Dir())
	c.Args[0] = "usagelake" // testscript takes the program's name from it
	var stderr strings.Builder
	c.Stderr = &stderr
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.CommandTransport{Command: c}, nil)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 6 {
		t.Errorf("tools %v, error %v", tools, err)
	}
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "query",
		Arguments: map[string]any{"sql": "SELECT model, sum(amount) AS net FROM usage GROUP BY ALL"}})
	if err != nil || res.IsError || !strings.Contains(res.Content[0].(*mcp.TextContent).Text, "gpt-5 | 0.300000000001") {
		t.Errorf("answer %+v, error %v", res, err)
	}
	if err := session.Close(); err != nil || stderr.Len() > 0 {
		t.Errorf("it ends with %v and says %q", err, stderr.String())
	}
}
