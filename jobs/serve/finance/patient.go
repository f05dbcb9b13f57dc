package finance

import (
	"net/http"
	"time"
)

// A reader has patience for each part of an answer, however large all of it is.
const (
	patience = time.Minute
	part     = 64 << 10
)

// patient sends an answer in parts. A server's own limit holds for all of an answer, what it takes to make it included:
// a large file that somebody reads slowly would be cut. Who takes no part in time is given up.
type patient struct{ http.ResponseWriter }

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *patient) Write(b []byte) (n int, err error) {
	for {
		// What has no deadlines, a test's recorder, has no limit either.
		_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(patience))
		m, err := p.ResponseWriter.Write(b[n:min(len(b), n+part)])
		if n += m; err != nil || n == len(b) {
			return n, err
		}
	}
}
