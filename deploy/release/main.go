// Command release builds what is published of a version: for each architecture an archive of program, manual,
// completions, docs, licences and units, and a list of all that is linked into it (SBOM); and the checksums of these.
//
//	go run ./deploy/release [-version v1.2.3] [-arch amd64,arm64] [-out dist]
//
// The same commit gives the same bytes, wherever it is built, if Go, the C compiler and the linker are the same ones:
// nothing in the archive depends on a path, a user, a clock or the order of a directory. BUILD in the archive names
// these three. An archive for another architecture than the machine's needs its cross compiler (CC_arm64 names it).
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

// build is one release in the making.
type build struct {
	version string
	epoch   time.Time // of the commit: the time of every file
	out     string
	tmp     string
	log     io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(stderr)
	version := flags.String("version", "", "version (default: what git describe says)")
	arches := flags.String("arch", runtime.GOARCH, "architectures, with commas between")
	out := flags.String("out", "dist", "directory to write to; what is in it of this version is replaced")
	dirty := flags.Bool("dirty", false, "build although files differ from the commit; for trying out, not for publishing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errors.New("a release is built on Linux")
	}
	if _, err := os.Stat("cmd/usagelake"); err != nil {
		return errors.New("run it in the root of the repository: make release")
	}
	b := &build{version: *version, out: *out, log: stderr}
	changed, err := output(ctx, nil, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" && !*dirty {
		return fmt.Errorf("files differ from the commit, so nobody could build the same:\n%s\ncommit them, or pass -dirty "+
			"to try it out", changed)
	}
	if b.version == "" {
		if b.version, err = output(ctx, nil, "git", "describe", "--tags", "--always", "--dirty"); err != nil {
			return err
		}
	}
	if !safeName(b.version) {
		return fmt.Errorf("version %q: only letters, digits and . _ + - may stand in it", b.version)
	}
	seconds, err := output(ctx, nil, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("git says that the commit's time is %q", seconds)
	}
	b.epoch = time.Unix(n, 0).UTC()
	if b.tmp, err = os.MkdirTemp("", "usagelake-release-*"); err != nil {
		return err
	}
	defer os.RemoveAll(b.tmp)
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}

	// What is linked in must be what go.sum says.
	if _, err := output(ctx, nil, "go", "mod", "verify"); err != nil {
		return err
	}
	// The machine's own program writes manual and completions, for every architecture.
	native, err := b.compile(ctx, runtime.GOARCH)
	if err != nil {
		return err
	}
	docs, err := b.generate(ctx, native)
	if err != nil {
		return err
	}
	var made []string
	for _, arch := range strings.Split(*arches, ",") {
		program := native
		if arch != runtime.GOARCH {
			if program, err = b.compile(ctx, arch); err != nil {
				return err
			}
		}
		files, err := b.architecture(ctx, arch, program, native, docs)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		made = append(made, files...)
	}
	sums, err := checksums(b.out, made)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.out, "SHA256SUMS"), []byte(sums), 0o644); err != nil {
		return err
	}
	_, err = io.WriteString(stdout, sums)
	return err
}

// compile builds the program for arch and gives its path.
//
// -trimpath takes the paths of sources out of the Go and, through -ffile-prefix-map, the C parts; an empty build ID
// takes
// out what depends on the cache. libstdc++ stays shared: linked statically it would ask for glibc 2.36 (arc4random) on
// Debian 12, where the shared one makes do with 2.34.
func (b *build) compile(ctx context.Context, arch string) (string, error) {
	fmt.Fprintf(b.log, "building usagelake %s for linux/%s\n", b.version, arch)
	path := filepath.Join(b.tmp, arch, "usagelake")
	_, err := output(ctx, b.goEnv(arch), "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=true",
		"-ldflags", "-s -w -buildid= -X main.release="+b.version, "-o", path, "./cmd/usagelake")
	return path, err
}

// goEnv is what could change the program, set to what it is for a release.
func (b *build) goEnv(arch string) []string {
	env := []string{
		"CGO_ENABLED=1", "GOOS=linux", "GOARCH=" + arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=",
		"GOWORK=off",
		"CGO_CFLAGS=-O2", "CGO_CPPFLAGS=", "CGO_CXXFLAGS=-O2", "CGO_LDFLAGS=", "LC_ALL=C", "TZ=UTC",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.epoch.Unix(), 10),
	}
	if arch != runtime.GOARCH {
		env = append(env, "CC="+compiler(arch))
	}
	return env
}

// compiler is the C compiler for arch.
func compiler(arch string) string {
	switch cc := os.Getenv("CC_" + arch); {
	case cc != "":
		return cc
	case arch == runtime.GOARCH:
		return "gcc"
	case arch == "arm64":
		return "aarch64-linux-gnu-gcc"
	case arch == "amd64":
		return "x86_64-linux-gnu-gcc"
	}
	return "gcc"
}

// generate writes manual and completions with the program itself, and returns them by their names in the archive.
func (b *build) generate(ctx context.Context, program string) (map[string]string, error) {
	files := map[string]string{}
	man := filepath.Join(b.tmp, "man")
	if _, err := output(ctx, b.goEnv(runtime.GOARCH), program, "man", man); err != nil {
		return nil, err
	}
	pages, err := filepath.Glob(filepath.Join(man, "*.1"))
	if err != nil || len(pages) == 0 {
		return nil, fmt.Errorf("the program wrote no manual into %s", man)
	}
	for _, p := range pages {
		files["man/man1/"+filepath.Base(p)] = p
	}
	for shell, name := range map[string]string{"bash": "usagelake", "zsh": "_usagelake", "fish": "usagelake.fish"} {
		text, err := output(ctx, nil, program, "completion", shell)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(b.tmp, "completion-"+shell)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			return nil, err
		}
		files["completions/"+shell+"/"+name] = path
	}
	return files, nil
}

// architecture packs what belongs to arch and lists what is linked in. It returns the names of the files in b.out.
func (b *build) architecture(ctx context.Context, arch, program, native string, docs map[string]string) ([]string,
	error) {
	name := fmt.Sprintf("usagelake-%s-linux-%s", b.version, arch)
	files := map[string]string{"usagelake": program}
	for to, from := range docs {
		files[to] = from
	}
	for _, f := range []string{"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"} {
		files[f] = f
	}
	for _, dir := range []string{"docs", "deploy"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path == filepath.Join("deploy", "release"): // this program
				return filepath.SkipDir
			case d.Type().IsRegular():
				files[filepath.ToSlash(path)] = path
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	linked, err := modules(ctx, program)
	if err != nil {
		return nil, err
	}
	licences, err := licenceFiles(ctx, linked)
	if err != nil {
		return nil, err
	}
	for to, from := range licences {
		files[to] = from
	}
	about, err := b.about(ctx, arch, program)
	if err != nil {
		return nil, err
	}
	files["BUILD"] = filepath.Join(b.tmp, "BUILD-"+arch)
	if err := os.WriteFile(files["BUILD"], []byte(about), 0o644); err != nil {
		return nil, err
	}

	archive := name + ".tar.gz"
	f, err := os.Create(filepath.Join(b.out, archive))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(pack(f, name, files, b.epoch), f.Close()); err != nil {
		return nil, fmt.Errorf("pack %s: %w", archive, err)
	}
	bom, err := b.sbom(ctx, program, native)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(b.out, name+".cdx.json"), bom, 0o644); err != nil {
		return nil, err
	}
	return []string{archive, name + ".cdx.json"}, nil
}

// about is the text of BUILD: what one needs to build the same bytes.
func (b *build) about(ctx context.Context, arch, program string) (string, error) {
	commit, err := output(ctx, nil, "git", "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	sum, err := digest(program)
	if err != nil {
		return "", err
	}
	cc, err := output(ctx, nil, compiler(arch), "--version")
	if err != nil {
		return "", err
	}
	cc, _, _ = strings.Cut(cc, "\n")
	ld, err := output(ctx, nil, compiler(arch), "-Wl,--version")
	if err != nil {
		return "", err
	}
	ld, _, _ = strings.Cut(ld, "\n")
	return fmt.Sprintf(`usagelake %s for linux/%s

commit      %s
built with  %s
            %s
            %s
sha256      %s  usagelake

To build the same: check out the commit, with these three, and run make release.
`, b.version, arch, commit, runtime.Version(), cc, ld, sum), nil
}

// output runs a command, with env over the environment, and returns what it prints, trimmed.
func output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// safeName says that a version may be a part of file names and of linker flags.
func safeName(s string) bool {
	return s != "" && !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, ".") &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+-", r))
		})
}

// checksums is the text of SHA256SUMS for files of dir, as sha256sum -c reads it.
func checksums(dir string, names []string) (string, error) {
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		sum, err := digest(filepath.Join(dir, n))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, n)
	}
	return b.String(), nil
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
