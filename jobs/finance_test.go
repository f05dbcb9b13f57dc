package jobs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

// Whatever a budget can be for, the config can say.
func TestTheConfigHasABudgetForEachScope(t *testing.T) {
	for _, scope := range append(schemas.BudgetScopes(), "") {
		text, value := "", ""
		if scope != "" {
			text, value = ", "+scope+": it", "it"
		}
		cfg, err := config.Load(config.Overrides{ConfigFile: written(t,
			fmt.Sprintf("accounts: [{name: acme, key_env: K}]\nbudgets: [{name: b, amount: \"1\", currency: USD%s}]\n", text))},
			kit.NoEnv)
		if err != nil {
			t.Errorf("%q: %v", scope, err)
			continue
		}
		finance, err := readFinance(cfg)
		if err != nil || len(finance.Budgets) != 1 || finance.Budgets[0].Scope != scope || finance.Budgets[0].Value != value {
			t.Errorf("%q: %+v, %v", scope, finance.Budgets, err)
		}
	}
}

// What is published isn't of the account that one command is about: the others are expected to be there all the same,
// and a top-up without an account is nobody's, and not that account's.
func TestACommandForOneAccountPublishesForAll(t *testing.T) {
	path := written(t, "accounts:\n  - {name: acme, key_env: K}\n  - {name: bee, key_env: K}\ntopups: [topups.csv]\n")
	topups := filepath.Join(filepath.Dir(path), "topups.csv")
	for text, want := range map[string]string{
		"date,amount,currency\n2026-10-02,50,USD\n":             "no account: the config has acme, bee",
		"date,amount,currency,account\n2026-10-02,50,USD,bee\n": "",
	} {
		if err := os.WriteFile(topups, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Overrides{ConfigFile: path, Account: "acme"}, kit.NoEnv)
		if err != nil {
			t.Fatal(err)
		}
		f, err := readFinance(cfg)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v, want %s", err, want)
		case want == "" && (err != nil || !slices.Equal(f.Accounts, []string{"acme", "bee"})):
			t.Errorf("%v %v", f.Accounts, err)
		}
	}
}

// written is the path of a config of that text.
func written(t *testing.T, text string) string {
	t.Helper()
	return kit.Write(t, filepath.Join(t.TempDir(), "usagelake.yaml"), text, 0o600)
}
