package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Values of Packages and its receivers.
const (
	AfterClose = "close"
	SendZip    = "zip"   // the whole package
	SendIndex  = "index" // its manifest.json

	// DefaultHandingTimeout is how long a receiver of packages may take for one.
	DefaultHandingTimeout = time.Minute
)

// Packages say when the packages of a closed month are made, and who gets them.
type Packages struct {
	After   string            `yaml:"after"` // AfterClose, or "": by usagelake package and jobs of the kind alone
	Deliver []PackageReceiver `yaml:"deliver"`
}

// PackageReceiver is who gets packages: one of a folder, a command and a webhook.
type PackageReceiver struct {
	Name        string   `yaml:"name"`
	CostCenters []string `yaml:"cost_centers"` // nil: all
	Folder      string   `yaml:"folder"`       // which is there already
	Command     []string `yaml:"command"`      // program and arguments
	WebhookEnv  string   `yaml:"webhook_env"`  // the variable that holds the URL
	WebhookFile string   `yaml:"webhook_file"` // or the file, readable by its owner alone
	Send        string   `yaml:"send"`         // what a webhook is sent: SendZip ("") or SendIndex
	HMACEnv     string   `yaml:"hmac_env"`     // the variable that holds the secret that signs the body
	HMACFile    string   `yaml:"hmac_file"`    // or the file
	Timeout     Duration `yaml:"timeout"`      // for one package; 0: DefaultHandingTimeout
}

// Takes says whether the receiver gets the packages of a cost centre.
func (r PackageReceiver) Takes(costCenter string) bool {
	return r.CostCenters == nil || slices.Contains(r.CostCenters, costCenter)
}

// beside makes the relative paths of the section relative to the config.
func (p *Packages) beside(beside func(string) string) {
	for i := range p.Deliver {
		r := &p.Deliver[i]
		r.Folder, r.WebhookFile, r.HMACFile = beside(r.Folder), beside(r.WebhookFile), beside(r.HMACFile)
		commandBeside(r.Command, beside)
	}
}

// commandBeside makes the program of a command relative to the config. One without a separator is looked for in PATH;
// one that lies beside a config in the working directory needs its ./ back, which Join takes off.
func commandBeside(command []string, beside func(string) string) {
	if len(command) == 0 || !strings.ContainsRune(command[0], filepath.Separator) {
		return
	}
	command[0] = beside(command[0])
	if !filepath.IsAbs(command[0]) {
		command[0] = "." + string(filepath.Separator) + command[0]
	}
}

// Validate lists every mistake of the section.
func (p Packages) Validate() []error {
	var errs []error
	if p.After != "" && p.After != AfterClose {
		errs = append(errs, at("packages.after", "packages.after: %q is not %s: write that, or leave the key out", p.After,
			AfterClose))
	}
	for i, r := range p.Deliver {
		path := fmt.Sprintf("packages.deliver[%d]", i)
		for _, err := range r.Validate() {
			errs = append(errs, at(path, "%s (%s): %w", path, r.Name, err))
		}
		if slices.ContainsFunc(p.Deliver[:i], func(o PackageReceiver) bool { return o.Name == r.Name }) {
			errs = append(errs, at(path, "%s (%s): name: another receiver has it too", path, r.Name))
		}
	}
	return errs
}

// Validate lists every mistake of a receiver.
func (r PackageReceiver) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, named(r.Name)...)
	webhook := r.WebhookEnv != "" || r.WebhookFile != ""
	ways := 0
	for _, given := range []bool{r.Folder != "", r.Command != nil, webhook} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		bad("give one of folder, command, webhook_env (a variable that holds the URL) and webhook_file (a file that only " +
			"its owner can read)")
	}
	if r.Command != nil && (len(r.Command) == 0 || r.Command[0] == "") {
		bad("command: the program's name is empty: write [/usr/local/bin/send-statement], or leave the key out")
	}
	errs = append(errs, webhookKeys(r.WebhookEnv, r.WebhookFile, r.HMACEnv, r.HMACFile)...)
	if !webhook && (r.Send != "" || r.HMACEnv != "" || r.HMACFile != "") {
		bad("send, hmac_env and hmac_file are for webhooks alone")
	}
	if r.Send != "" && r.Send != SendZip && r.Send != SendIndex {
		bad("send: %q is neither %s nor %s", r.Send, SendZip, SendIndex)
	}
	if r.CostCenters != nil && len(r.CostCenters) == 0 {
		bad("cost_centers: the list is empty, so that nothing would ever be delivered: name one, or leave the key out for " +
			"every cost centre")
	}
	for i, c := range r.CostCenters {
		if c == "" || slices.Contains(r.CostCenters[:i], c) {
			bad("cost_centers: %q is empty or stands twice", c)
		}
	}
	if r.Folder != "" && r.Timeout != 0 {
		bad("timeout is for webhooks and commands")
	}
	if r.Timeout < 0 || time.Duration(r.Timeout) > time.Hour {
		bad("timeout: %s is not between 1s and 1h", time.Duration(r.Timeout))
	}
	return errs
}

// webhookKeys lists the mistakes of the keys that say where a webhook's URL and the secret that signs are kept.
func webhookKeys(urlEnv, urlFile, hmacEnv, hmacFile string) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if urlEnv != "" && urlFile != "" {
		bad("give webhook_env or webhook_file, not both")
	}
	if hmacEnv != "" && hmacFile != "" {
		bad("give hmac_env or hmac_file, not both")
	}
	if strings.Contains(urlEnv, ":") {
		bad("webhook_env holds a URL: write the name of a variable there; who knows a webhook's URL can send to it")
	}
	return errs
}
