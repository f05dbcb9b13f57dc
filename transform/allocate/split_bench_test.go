package allocate

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

func BenchmarkSplit(b *testing.B) {
	r := newRules(nil, nil, []*pool{{name: "p", method: methodCost, all: true}}, nil)
	var direct []schemas.DirectCost
	for i := range 100 {
		direct = append(direct, schemas.DirectCost{Owner: schemas.Owner{CostCenter: fmt.Sprint("cc-", i%50),
			Team: fmt.Sprint(i)},
			Currency: ptr("USD"), Tokens: big.NewInt(int64(i)), Net: units(int64(i) * 1_234_567_890_123)})
	}
	costs := make([]schemas.PoolCost, 300)
	for i := range costs {
		n := int64(i+1) * 98_765_432_109
		costs[i] = schemas.PoolCost{Pool: "p", Date: day("2026-10-01") + schemas.Date(i%31), Account: "a",
			Currency: ptr("USD"),
			Measures: schemas.Measures{Requests: 7, Input: big.NewInt(n), Output: big.NewInt(n), Cached: big.NewInt(n),
				Total: big.NewInt(3 * n),
				List:  units(3 * n), Discount: units(n), Net: units(2 * n)}}
	}
	for b.Loop() {
		if _, err := r.Split(costs, direct); err != nil {
			b.Fatal(err)
		}
	}
}
