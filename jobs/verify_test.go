package jobs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// lakes is how many random lakes verify looks at.
const lakes = 6

// randomRecords are n records between two instants, as a Portal might give them: ids of every make and length, several
// in a second, gross and net of every size, members that are missing, of another type, or unknown.
func randomRecords(r *rand.Rand, from, to time.Time, n int) []string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	out := make([]string, 0, n)
	for i := range n {
		var id string
		switch r.IntN(6) {
		case 0:
			id = fmt.Sprint(r.IntN(2000)) // of one to four digits
		case 1:
			id = fmt.Sprint(r.Int64())
		case 2:
			id = fmt.Sprintf(`"%s-%d"`, pick("a", "A", "é", "None", "r"), r.IntN(300))
		case 3:
			id = fmt.Sprintf(`"%d"`, r.Uint64())
		case 4:
			id = fmt.Sprintf(`"0%d"`, r.IntN(100))
		default:
			id = fmt.Sprint(i)
		}
		at := from.Unix() + r.Int64N(to.Unix()-from.Unix())/7*7
		record := fmt.Sprintf(`"id":%s,"request_time":%d,"model":%s,"token_id":%s,"input_tokens":%d,"output_tokens":%s,`+
			`"total_amount":%s,"amount":%s`,
			id, at, pick(`"m1"`, `"m/2"`, `"\u202e"`, "null"), pick("7", `"tk"`, `""`, "null"), r.IntN(1e6),
			pick("0", "12", "null", `"x"`, "-3"),
			pick("0.1", "1e-12", "-5.000000000000", "0.0000000000005", "null", `"0.25"`),
			pick("0.1", "0.000000000001", "-5", "0", "null", "1e30"))
		if r.IntN(4) == 0 {
			record += pick(`,"ext":{}`, `,"ext":{"image":{"size":{"unit":"piece","price":"0.04","usage":2,"amount":"0.08"}}}`,
				`,"new":{"a":[1,2]}`, `,"ext":null`)
		}
		if r.IntN(40) == 0 {
			record = pick(`"request_time":0`, `"id":null`, `"id":"x","request_time":"soon"`)
		}
		out = append(out, "{"+record+"}")
	}
	return out
}

// Whatever a Portal sends, verify finds nothing in a lake that nothing has happened to: what it checks is what was
// written.
func TestVerifyFindsNothingInRandomLakes(t *testing.T) {
	for seed := range uint64(lakes) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			kit.Bubble(t, "random", func(t *testing.T) {
				w := newWorld(t, kit.Settings{})
				lake, err := publish.Create(w.Cfg.Lake, w.env.LakeOptions(w.Cfg))
				if err != nil {
					t.Fatal(err)
				}
				r := rand.New(rand.NewPCG(seed, 19))
				for d := range 3 {
					p := schemas.Partition{Account: "acme", Date: schemas.DateOf(kit.Day(10 + d))}
					cut := p.Date.Start().Add(time.Duration(1+r.IntN(22)) * time.Hour)
					windows := []schemas.Window{{Account: "acme", Start: p.Date.Start(), End: cut},
						{Account: "acme", Start: cut, End: p.Date.End()}}
					if r.IntN(2) == 0 { // fetched anew in part
						windows = append(windows, schemas.Window{Account: "acme", Start: p.Date.Start().Add(time.Hour),
							End: cut.Add(30 * time.Minute)})
					}
					for i, win := range windows {
						records := randomRecords(r, win.Start, win.End, r.IntN(400))
						body := fmt.Sprintf(`{"success":true,"code":0,"data":{"list":[%s],"total":%d}}`, strings.Join(records, ","),
							len(records))
						_, err := lake.Seal(t.Context(), schemas.Seal{Kind: schemas.KindUsage, Account: "acme", Start: win.Start,
							End:        win.End,
							AskedStart: win.Start.Unix() - 1, AskedEnd: win.End.Unix(), PageSize: 1000, Records: int64(len(records)),
							Proof:      schemas.ProofRepeat,
							RequestIDs: []string{"q"}, Requests: 1, FetchedAt: win.End.Add(time.Hour), RunID: fmt.Sprintf("run-%d", i),
							Version: "test", Currency: "USD"},
							[]schemas.Page{{Number: 1, RequestID: "q", FetchedAt: win.End.Add(time.Hour), Body: []byte(body)}})
						if err != nil {
							t.Fatal(err)
						}
					}
				}
				w.rebuild()
				report := verified(t, w)
				for _, f := range report.Findings {
					if f.Check != publish.FoundDuplicate { // ids are drawn, and one comes on two days
						t.Errorf("%+v", f)
					}
				}
				if report.Rows < 100 || report.Quarantined == 0 {
					t.Errorf("%d rows, %d quarantined: the lake is no test", report.Rows, report.Quarantined)
				}
			})
		})
	}
}
