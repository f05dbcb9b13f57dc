package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas"
)

func TestAnAccountOfARunHasTheFieldsOfTheRun(t *testing.T) {
	res := &jobs.Result{Elapsed: 9 * time.Second, Took: []time.Duration{2 * time.Second, 7 * time.Second},
		Run: schemas.Run{
			RunID: "r1", Status: schemas.StatusPartial, Accounts: []schemas.RunAccount{
				{Account: "a", Status: schemas.StatusDone, RunCounts: schemas.RunCounts{Records: 5}},
				{Account: "b", Status: schemas.StatusPartial, Failed: []schemas.FailedWindow{{Error: "HTTP 500"},
					{Error: "not tried"}}},
			},
		}}
	b, err := json.Marshal(runDocument(res, nil))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Accounts []map[string]any `json:"accounts"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for i, a := range doc.Accounts {
		for _, field := range []string{"run_id", "status", "records", "quarantined", "requests", "retries", "throttled",
			"windows", "days_written", "elapsed_seconds"} {
			if _, ok := a[field]; !ok {
				t.Errorf("account %d has no %s", i, field)
			}
		}
	}
	a, other := doc.Accounts[0], doc.Accounts[1]
	if a["run_id"] != "r1" || a["elapsed_seconds"] != 2.0 || other["elapsed_seconds"] != 7.0 || a["records"] != 5.0 {
		t.Errorf("%s", b)
	}
	if _, ok := a["error"]; ok {
		t.Error("an account that is done has an error")
	}
	if e, _ := other["error"].(string); !strings.Contains(e, "2 windows could not be fetched; the first: HTTP 500") {
		t.Errorf("the error is %q", e)
	}
}
