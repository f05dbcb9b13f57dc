package jobs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

// currencies are the currencies of each day's records, by day.
func (w *world) currencies() string {
	r := w.Read()
	defer r.Close()
	return r.One("SELECT string_agg(d || ' ' || c, ', ' ORDER BY d, c) FROM (SELECT DISTINCT right(usage_date::VARCHAR, " +
		"2) AS d, coalesce(currency, '-') AS c FROM usage)")
}

// A currency that changes is an error, says so once, and changes nothing that is sealed.
func TestACurrencyThatChangesRelabelsNothingThatIsSealed(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.export(span(15, 18))
	w.Faults("currency=EUR")
	res, err := w.try(t.Context(), span(15, 19))
	var changed *CurrencyError
	if !errors.As(err, &changed) || changed.Was != "USD" || changed.Is != "EUR" || res.Status != schemas.StatusPartial ||
		res.Accounts[0].Status != schemas.StatusPartial || kit.HintOf(err) == "" {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := w.currencies(); got != "15 USD, 16 USD, 17 USD, 18 EUR" {
		t.Errorf("after it: %s", got)
	}
	// What is fetched again by itself, as the lookback does, keeps what it had; it isn't said again.
	w.Cfg.Export.Lookback, w.Cfg.Export.RefetchEvery = config.Duration(30*24*time.Hour), config.Duration(time.Second)
	w.Pass(200 * time.Hour)
	w.export(Span{})
	if got := w.currencies(); !strings.HasPrefix(got, "15 USD, 16 USD, 17 USD, 18 EUR, 19 EUR") {
		t.Errorf("after a refetch: %s", got)
	}
	// What somebody has fetched anew on purpose has what is named now.
	again := span(15, 17)
	again.Anew = true
	w.export(again)
	if got := w.currencies(); !strings.HasPrefix(got, "15 EUR, 16 EUR, 17 USD, 18 EUR") {
		t.Errorf("after --refetch: %s", got)
	}
}

// What is no code of three capital letters is no currency: the last one that was named stands, or else the config's, or
// none.
func TestWhatIsNoCodeIsNoCurrency(t *testing.T) {
	for _, named := range []string{"€", "usd", "USDT", "US", "U$D"} {
		w := newWorld(t, kit.Settings{Faults: "currency=" + named})
		w.Cfg.Accounts[0].Currency = "CHF"
		w.export(span(15, 16))
		if got := w.currencies(); got != "15 CHF" {
			t.Errorf("%s: with a config %s", named, got)
		}
		w.Faults("")
		if _, err := w.try(t.Context(), span(15, 17)); !errors.As(err, new(*CurrencyError)) {
			t.Errorf("%s: then USD: %v", named, err)
		}
		w.Faults("currency=" + named)
		w.export(span(15, 18))
		if got := w.currencies(); got != "15 CHF, 16 USD, 17 USD" {
			t.Errorf("%s: then again %s", named, got)
		}
		if !strings.Contains(w.Logs.String(), "no code of three capital letters") {
			t.Errorf("%s: nothing is said", named)
		}
	}
}
