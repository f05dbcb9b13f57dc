package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs/config"

	"go.yaml.in/yaml/v3"
)

func testRoot() *cobra.Command {
	a := &app{streams: streams{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" },
		Now: time.Now}}
	return a.root()
}

// takes fails unless the program has the command and the flags of a command line.
func takes(t *testing.T, where string, args []string) {
	t.Helper()
	c, rest, err := testRoot().Find(args)
	if err != nil || !c.HasParent() {
		t.Errorf("%s runs usagelake %s: there is no such command", where, strings.Join(args, " "))
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("%s runs usagelake %s: %v", where, strings.Join(args, " "), err)
	}
}

// unit reads a unit file: the values of each key, in order.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	values := map[string][]string{}
	for i, l := range strings.Split(read(t, "deploy/systemd/"+name), "\n") {
		if l = strings.TrimSpace(l); l == "" || l[0] == '#' || l[0] == '[' {
			continue
		}
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			t.Fatalf("%s:%d: %q is no setting", name, i+1, l)
		}
		values[key] = append(values[key], value)
	}
	return values
}

func TestTheUnitsRunWhatIsThereAndKnowTheExitCodes(t *testing.T) {
	sandbox := map[string]map[string][]string{}
	for _, c := range []struct {
		file    string
		prevent []int // codes after which trying again is of no use
	}{
		{"usagelake.service", []int{exitUsage}},
		{"usagelake-export.service", []int{exitUsage, exitRefused}},
	} {
		u := unit(t, c.file)
		line := strings.Fields(u["ExecStart"][0])
		takes(t, c.file, line[1:])
		if got := u["SuccessExitStatus"]; !slices.Equal(got, []string{strconv.Itoa(exitTerm)}) {
			t.Errorf("%s: SuccessExitStatus=%v", c.file, got)
		}
		var want []string
		for _, code := range c.prevent {
			want = append(want, strconv.Itoa(code))
		}
		if got := u["RestartPreventExitStatus"]; !slices.Equal(got, []string{strings.Join(want, " ")}) {
			t.Errorf("%s: RestartPreventExitStatus=%v, want %v", c.file, got, want)
		}
		stop, err := time.ParseDuration(u["TimeoutStopSec"][0])
		if err != nil || stop <= config.DefaultGrace {
			t.Errorf("%s: TimeoutStopSec=%v leaves a run less than its grace of %s", c.file, u["TimeoutStopSec"],
				config.DefaultGrace)
		}
		// What differs between the two on purpose.
		for _, key := range strings.Fields(`Description Documentation Type ExecStart ExecReload RestartPreventExitStatus
			RestartSec Restart StartLimitIntervalSec StartLimitBurst TimeoutStartSec TimeoutStopSec RuntimeDirectory
			RuntimeDirectoryMode WantedBy KillSignal SuccessExitStatus`) {
			delete(u, key)
		}
		sandbox[c.file] = u
	}
	daemon, export := sandbox["usagelake.service"], sandbox["usagelake-export.service"]
	for key, value := range daemon {
		if !slices.Equal(value, export[key]) {
			t.Errorf("%s is %v for the daemon and %v for the export", key, value, export[key])
		}
	}
	if len(daemon) != len(export) || len(daemon) < 30 {
		t.Errorf("the daemon has %d settings in common with the export, which has %d", len(daemon), len(export))
	}
	timer := unit(t, "usagelake-export.timer")
	if timer["Unit"][0] != "usagelake-export.service" || !strings.HasSuffix(timer["OnCalendar"][0], " UTC") ||
		timer["Persistent"][0] != "true" {
		t.Errorf("timer: %v", timer)
	}
}

// tool finds a program that a test needs. Without it the test is skipped, but not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no %s, and CI is set", name)
		}
		t.Skipf("no %s", name)
	}
	return path
}

// 2.0 is where systemd-analyze stops to say OK.
func TestTheUnitsAreHardened(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	for _, name := range []string{"usagelake.service", "usagelake-export.service"} {
		out, err := exec.Command(analyze, "security", "--no-pager", "--offline=true", "--threshold=20",
			"../../deploy/systemd/"+name).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// object is a Kubernetes object, as far as it is looked at here.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		TimeZone          string `yaml:"timeZone"`
		ConcurrencyPolicy string `yaml:"concurrencyPolicy"`
		Replicas          int
		Strategy          struct{ Type string }
		JobTemplate       struct {
			Spec struct {
				PodFailurePolicy struct {
					Rules []struct {
						Action      string
						OnExitCodes struct {
							ContainerName string `yaml:"containerName"`
							Operator      string
							Values        []int
						} `yaml:"onExitCodes"`
					}
				} `yaml:"podFailurePolicy"`
				Template podTemplate
			}
		} `yaml:"jobTemplate"`
		Template podTemplate
		Ports    []struct{ Port int }
		Ingress  []struct{ Ports []struct{ Port int } }
	}
	StringData map[string]string `yaml:"stringData"`
}

type podTemplate struct {
	Spec struct {
		RestartPolicy                 string `yaml:"restartPolicy"`
		TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
		AutomountServiceAccountToken  *bool  `yaml:"automountServiceAccountToken"`
		SecurityContext               struct {
			RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
			RunAsUser      int                   `yaml:"runAsUser"`
			SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []struct {
			Name, Image string
			Args        []string
			Ports       []struct {
				Name          string
				ContainerPort int `yaml:"containerPort"`
			}
			Env []struct {
				Name      string
				ValueFrom struct {
					SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
				} `yaml:"valueFrom"`
			}
			LivenessProbe   probe `yaml:"livenessProbe"`
			ReadinessProbe  probe `yaml:"readinessProbe"`
			Resources       struct{ Limits map[string]string }
			SecurityContext struct {
				AllowPrivilegeEscalation *bool                   `yaml:"allowPrivilegeEscalation"`
				ReadOnlyRootFilesystem   bool                    `yaml:"readOnlyRootFilesystem"`
				Capabilities             struct{ Drop []string } `yaml:"capabilities"`
			} `yaml:"securityContext"`
			VolumeMounts []struct {
				MountPath string `yaml:"mountPath"`
			} `yaml:"volumeMounts"`
		}
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

func objects(t *testing.T, dir string) map[string]object {
	t.Helper()
	found := map[string]object{}
	files, err := filepath.Glob(filepath.Join("../../deploy/kubernetes", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in %s: %v", dir, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "usagelake.yaml" {
			continue // the program's config
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for dec := yaml.NewDecoder(bytes.NewReader(b)); ; {
			var o object
			if err := dec.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			found[o.Kind] = o
		}
	}
	return found
}

func TestTheManifestsRunWhatIsThereAndAgreeWithTheirConfig(t *testing.T) {
	secret := objects(t, ".")["Secret"]
	common := objects(t, "common")
	for _, dir := range []string{"nightly", "daemon"} {
		there := objects(t, dir)
		getenv := func(string) string { return "" }
		cfg, err := config.Load(config.Overrides{ConfigFile: filepath.Join("../../deploy/kubernetes", dir, "usagelake.yaml")},
			getenv)
		if err != nil {
			t.Fatal(err)
		}
		pod := there["Deployment"].Spec.Template
		if dir == "nightly" {
			job := there["CronJob"]
			pod = job.Spec.JobTemplate.Spec.Template
			if job.Spec.ConcurrencyPolicy != "Forbid" || job.Spec.TimeZone == "" || pod.Spec.RestartPolicy != "Never" {
				t.Errorf("the cron job's policies are %+v", job.Spec)
			}
			var codes []int
			for _, r := range job.Spec.JobTemplate.Spec.PodFailurePolicy.Rules {
				if r.Action == "FailJob" && r.OnExitCodes.Operator == "In" &&
					r.OnExitCodes.ContainerName == pod.Spec.Containers[0].Name {
					codes = append(codes, r.OnExitCodes.Values...)
				}
			}
			if !slices.Equal(codes, []int{exitUsage, exitRefused}) {
				t.Errorf("the cron job fails at once after %v, want after %d and %d", codes, exitUsage, exitRefused)
			}
		} else {
			if d := there["Deployment"].Spec; d.Replicas != 1 || d.Strategy.Type != "Recreate" {
				t.Errorf("two daemons could be there at once: %+v", d)
			}
			_, port, _ := strings.Cut(cfg.Schedule.Listen, ":")
			c := pod.Spec.Containers[0]
			for what, got := range map[string]int{
				"container": c.Ports[0].ContainerPort, "service": there["Service"].Spec.Ports[0].Port,
				"network policy": common["NetworkPolicy"].Spec.Ingress[0].Ports[0].Port,
			} {
				if strconv.Itoa(got) != port {
					t.Errorf("the %s has port %d, the config %s", what, got, port)
				}
			}
			if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" ||
				c.LivenessProbe.HTTPGet.Port != c.Ports[0].Name {
				t.Errorf("probes: %+v, %+v", c.LivenessProbe, c.ReadinessProbe)
			}
		}
		wanted := []string{cfg.Accounts[0].KeyEnv}
		if cfg.Schedule.TokenEnv != "" {
			wanted = append(wanted, cfg.Schedule.TokenEnv)
		}
		c := pod.Spec.Containers[0]
		takes(t, dir, c.Args)
		var given []string
		for _, e := range c.Env {
			given = append(given, e.Name)
			if ref := e.ValueFrom.SecretKeyRef; ref.Name != secret.Metadata.Name || secret.StringData[ref.Key] == "" {
				t.Errorf("%s: %s comes from %s of the secret %s, which the example doesn't have", dir, e.Name, ref.Key, ref.Name)
			}
		}
		if !slices.Equal(given, wanted) {
			t.Errorf("%s: the container has %v, the config wants %v", dir, given, wanted)
		}
		grace := time.Duration(max(cfg.Schedule.Grace, config.Duration(config.DefaultGrace)))
		if s := pod.Spec; time.Duration(s.TerminationGracePeriodSeconds)*time.Second <= grace ||
			s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken ||
			!s.SecurityContext.RunAsNonRoot || s.SecurityContext.RunAsUser == 0 ||
			s.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
			t.Errorf("%s: pod %+v", dir, s)
		}
		mounts := map[string]bool{}
		for _, m := range c.VolumeMounts {
			mounts[m.MountPath] = true
		}
		if s := c.SecurityContext; !s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil ||
			*s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) ||
			c.Resources.Limits["memory"] == "" || !mounts["/tmp"] || !mounts["/"+strings.Split(cfg.Lake, "/")[1]] {
			t.Errorf("%s: container %+v", dir, c)
		}
	}
}

func TestTheImageIsPinnedAndNotRoot(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(dockerfile, -1)
	for _, m := range from {
		if !strings.Contains(m[1], ":") || strings.HasSuffix(m[1], ":latest") {
			t.Errorf("FROM %s is not pinned", m[1])
		}
	}
	minor := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if len(from) != 2 || !strings.HasPrefix(from[0][1], "golang:"+minor+".") {
		t.Errorf("the image is built with %v, go.mod says Go %s", from, minor)
	}
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).MatchString(dockerfile) {
		t.Error("the image doesn't name a user by a number other than 0")
	}
}

func TestEveryCommandHasAPageOfTheManual(t *testing.T) {
	dir := t.TempDir()
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"man", dir}, streams{Stdout: io.Discard, Stderr: &stderr, Now: time.Now,
		Getenv: func(name string) string { return map[string]string{"SOURCE_DATE_EPOCH": "1700000000"}[name] }})
	if code != exitDone {
		t.Fatalf("usagelake man ends with %d: %s", code, stderr.String())
	}
	request := regexp.MustCompile(`^\.(TH|SH|TP|PP|B|BR|I|nf|fi|sp)\b`)
	commands := manCommands(testRoot())
	for _, c := range commands {
		b, err := os.ReadFile(filepath.Join(dir, manName(c)+".1"))
		if err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
			continue
		}
		for _, want := range []string{" 1 2023-11-14 ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n",
			".SH EXIT STATUS\n.TP\n.B 0\ndone\n", ".B 130, 143\n"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("the page of %s doesn't have %q", c.CommandPath(), want)
			}
		}
		for i, l := range strings.Split(string(b), "\n") {
			if (strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'")) && !request.MatchString(l) {
				t.Errorf("%s:%d: text is taken for a request: %s", manName(c), i+1, l)
			}
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) != len(commands) {
		t.Errorf("%d pages for %d commands: %v", len(pages), len(commands), err)
	}
	if out, err := exec.Command(tool(t, "mandoc"), append([]string{"-Tlint", "-Wwarning"},
		pages...)...).CombinedOutput(); err != nil {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
}

func TestTextStaysTextInTheManual(t *testing.T) {
	for _, c := range [][2]string{
		{".so /etc/passwd", `\&.so /etc/passwd`},
		{"'br", `\(aqbr`},
		{`a \fBb\fR "c"`, `a \efBb\efR \(dqc\(dq`},
		{"--lake ~ `x` ^", `\-\-lake \(ti \(gax\(ga \(ha`},
		{"sk_mg_…", `sk_mg_\[u2026]`},
		{"a\n.b", "a .b"},
	} {
		if got := roff(c[0]); got != c[1] {
			t.Errorf("roff(%q) is %s, want %s", c[0], got, c[1])
		}
	}
	got := manText("One\ntwo:\n\n  a\n\n  .b\n\nthree\n")
	if want := "One\ntwo:\n.PP\n.nf\n  a\n.sp\n  .b\n.fi\n.PP\nthree\n"; got != want {
		t.Errorf("manText gives %q, want %q", got, want)
	}
}

func TestDeployNamesEveryFileThatComesWithARelease(t *testing.T) {
	doc := read(t, "docs/deploy.md")
	for _, dir := range []string{"systemd", "kubernetes"} {
		err := filepath.WalkDir("../../deploy/"+dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && !strings.Contains(doc, filepath.Base(path)) {
				t.Errorf("docs/deploy.md doesn't name %s", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, code := range []int{exitUsage, exitRefused, exitPartial, exitHeld, exitTerm} {
		if !strings.Contains(doc, strconv.Itoa(code)) {
			t.Errorf("docs/deploy.md doesn't name exit code %d", code)
		}
	}
}
