package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/usagelake/usagelake/extract/portal"
)

// borders is a small Manager API of its own, with as many records at each second as it is told: the simulated Portal
// can't be told where to have some. Balances are the Portal's.
type borders struct {
	*portal.Portal
	faults string // inclusive-end, exclusive-start
	mu     sync.Mutex
	at     map[int64]int
	raw    map[int64][]string // and these, as they stand here
}

func (b *borders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/usage") {
		b.Portal.ServeHTTP(w, r)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	number := func(k string) int64 {
		n, _ := strconv.ParseInt(r.URL.Query().Get(k), 10, 64) // the client sends numbers
		return n
	}
	from, to := number("start_time"), number("end_time")
	if strings.Contains(b.faults, "exclusive-start") {
		from++
	}
	if !strings.Contains(b.faults, "inclusive-end") {
		to--
	}
	type rec struct {
		ID     string `json:"id"`
		Time   int64  `json:"request_time"`
		Model  string `json:"model"`
		Input  int64  `json:"input_token"`
		Amount int64  `json:"amount"`
	}
	all := []json.RawMessage{}
	for at, n := range b.at {
		for i := range n {
			if at >= from && at <= to {
				one, _ := json.Marshal(rec{fmt.Sprintf("%d%03d", at, i), at, "m", 1, 0}) // it can be written
				all = append(all, one)
			}
		}
	}
	for at, recs := range b.raw {
		for _, r := range recs {
			if at >= from && at <= to {
				all = append(all, json.RawMessage(r))
			}
		}
	}
	slices.SortFunc(all, func(x, y json.RawMessage) int { return bytes.Compare(x, y) })
	total := len(all)
	page, size := int(number("page")), int(number("pagesize"))
	all = all[min((page-1)*size, total):min(page*size, total)]
	_ = json.NewEncoder(w).Encode(map[string]any{
		"meta": map[string]any{"code": 0, "message": "", "request_id": "r"},
		"data": map[string]any{"list": all, "total": total},
	})
}
