package transform

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

func balanceOf(t *testing.T, body string) (row, error) {
	t.Helper()
	s := wholeDay().Seal
	s.Kind = schemas.KindBalance
	b, err := Balance(s, schemas.Page{Number: 1, RequestID: "req-b", Body: []byte(body)})
	if err != nil {
		return nil, err
	}
	defer b.Release()
	if !b.Schema().Equal(schemas.BalanceSchema()) {
		t.Fatal("not the schema of balance")
	}
	js, err := b.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(js, &rows); err != nil || len(rows) != 1 {
		t.Fatal(err, string(js))
	}
	return rows[0], nil
}

func TestABalanceIsReadFromItsExactFigure(t *testing.T) {
	r, err := balanceOf(t, `{"meta":{"code":0},"data":{"balance":470.010481,`+
		`"balance_str":"470.010481000001","coupon_balance":0,`+
		`"currency_code":"USD","credit_limit":"5000000.5","tier":{"b":1,"a":2}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for column, want := range map[string]any{
		"account": "acme", "observed_at": "2026-11-03T07:33:21Z", "balance": "470.010481000001", "coupon_balance": "0",
		"credit_limit": "5000000.5", "total_coupon_amount": nil, "currency": "USD", "extra": `{"tier":{"a":2,"b":1}}`,
		"request_id": "req-b", "run_id": "run-1",
	} {
		equal(t, column, r[column], want)
	}
}

func TestABalanceWithoutTheExactFigureIsReadFromTheNumber(t *testing.T) {
	for _, body := range []string{
		`{"data":{"balance":-12.5}}`, `{"data":{"balance":"-12.5","balance_str":""}}`,
		`{"data":{"balance":-12.5,"balance_str":null}}`,
		`{"data":{"balance_str":-12.5}}`,
	} {
		r, err := balanceOf(t, body)
		if err != nil {
			t.Fatal(body, err)
		}
		equal(t, body, r["balance"], any("-12.5"))
		equal(t, body, r["currency"], nil)
		equal(t, body, r["extra"], nil)
	}
	r, err := balanceOf(t, `{"data":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "no balance", r["balance"], nil)
}

func TestABalanceThatCanNotBeReadNamesTheField(t *testing.T) {
	for body, want := range map[string]string{
		``: "data is no object", `{"data":null}`: "data is no object", `[]`: "data is no object",
		`{"data":` + strings.Repeat(`{"a":`, 600) + `1` + strings.Repeat(`}`, 601): "data is no object",
		`{"data":{"balance_str":"many"}}`:                                          "balance_str: not_a_number",
		`{"data":{"balance_str":{}}}`:                                              "balance_str: not_a_number",
		`{"data":{"balance":1e26}}`:                                                "balance: out_of_range",
		`{"data":{"credit_limit":true}}`:                                           "credit_limit: not_a_number",
		`{"data":{"currency_code":840}}`:                                           "currency_code: wrong_type",
	} {
		_, err := balanceOf(t, body)
		if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(err.Error(), "acme") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}
