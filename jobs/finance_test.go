package jobs

import (
	"fmt"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// Whatever a budget can be for, the config can say.
func TestTheConfigHasABudgetForEachScope(t *testing.T) {
	for _, scope := range append(schemas.BudgetScopes(), "") {
		text, value := "", ""
		if scope != "" {
			text, value = ", "+scope+": it", "it"
		}
		cfg, err := LoadConfig(Overrides{ConfigFile: configFile(t, fmt.Sprintf("accounts: [{name: acme, key_env: K}]\nbudgets: [{name: b, amount: \"1\", currency: USD%s}]\n", text))}, noEnv)
		if err != nil {
			t.Errorf("%q: %v", scope, err)
			continue
		}
		finance, err := cfg.finance()
		if err != nil || len(finance.Budgets) != 1 || finance.Budgets[0].Scope != scope || finance.Budgets[0].Value != value {
			t.Errorf("%q: %+v, %v", scope, finance.Budgets, err)
		}
	}
}
