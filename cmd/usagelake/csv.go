package main

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
)

// csvFlag adds the flag by which a CSV is one for Excel.
func (a *app) csvFlag(c *cobra.Command, value *string) {
	c.Flags().StringVar(value, "csv", "",
		"csv that Excel opens by a double click: `excel` (of the settings in LC_ALL, LC_NUMERIC or LANG), excel:de-DE")
	var choices []string
	for _, l := range query.Locales() {
		choices = append(choices, excelForm+":"+l)
	}
	_ = c.RegisterFlagCompletionFunc("csv",
		cobra.FixedCompletions(append([]string{excelForm}, choices...), cobra.ShellCompDirectiveNoFileComp))
}

// excelForm is what --csv can be.
const excelForm = "excel"

// fallback is the format of an answer where neither --format nor the name of a file says any.
func (a *app) fallback(csv string) string {
	switch {
	case csv != "":
		return "csv"
	case a.json():
		return "json"
	}
	return "table"
}

// csvForm is the form that a --csv asks for; a --csv that would have no effect is refused.
func (a *app) csvForm(csv, format string) (form query.CSVForm, err error) {
	if csv == "" {
		return form, nil
	}
	kind, locale, named := strings.Cut(csv, ":")
	from := ""
	if !named {
		// As the C library looks for the settings of numbers.
		for _, name := range []string{"LC_ALL", "LC_NUMERIC", "LANG"} {
			if locale = a.Getenv(name); locale != "" {
				from = name + "="
				break
			}
		}
		locale = cmp.Or(locale, "en-US")
	}
	signs, known := query.SignsOf(locale)
	switch {
	case kind != excelForm:
		return form, config.Usage("", "--csv %q is neither excel nor one like excel:de-DE", csv)
	case format != "csv":
		return form, config.Usage("", "--csv is for --format csv, and this is %s", format)
	case !known:
		return form, config.Usage("name one with its signs: --csv excel:en-US (comma, 1.5), excel:de-DE (semicolon, 1,5), "+
			"excel:de-CH (semicolon, 1.5)", "--csv %s: which signs %s%s has isn't known", csv, from, locale)
	}
	return query.CSVForm{Excel: signs}, nil
}
