package finance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas/words"
)

// Root is where the site stands.
const Root = "/finance/"

// Options of a Site. Lake and Now are needed.
type Options struct {
	// Lake opens the lake, at each request: it may be another one by now.
	Lake func() (*publish.Lake, error)
	// Viewers are those who may look. nil, or none of them: whoever can ask sees all.
	Viewers func() ([]Viewer, error)
	// EndUsers says what those who don't see all are shown of end users' ids. nil: all.
	EndUsers func() (query.EndUsers, error)
	// Posting is how journals are posted. nil: as its zero value says.
	Posting func() posting.Settings
	// Compare gives what holds other rules, mark-ups or prices against the published file, in the order in which they are
	// named on the pages, of each at most one; it gives nil where none are named, and is nil where
	// nobody can name any.
	Compare func() []Comparison
	// Operator is where the status page stands; "" is nowhere.
	Operator string
	Version  string
	Now      func() time.Time
	Logger   *slog.Logger // nil: nothing is logged
}

// Site answers for finance. Its methods may be called at any time, from any goroutine.
type Site struct {
	opts Options
	log  *slog.Logger
	door *door
	lib  *library.Library

	longWait time.Duration // for what takes minutes, before who asks is told to come again
}

// New makes a Site. Close lets go of what it keeps.
func New(opts Options) *Site {
	s := &Site{opts: opts, log: opts.Logger, door: newDoor(opts.Now), lib: library.New(opts.Lake, opts.EndUsers),
		longWait: library.LongWait}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Close removes the files that were made for viewers.
func (s *Site) Close() { s.lib.Close() }

// Wrong is how many tokens came that nobody has.
func (s *Site) Wrong() int64 {
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	return s.door.wrong
}

// Guarded says whether viewers are set, so that whoever asks has to say who it is.
func (s *Site) Guarded() bool {
	v, err := s.viewers()
	return err != nil || len(v) > 0
}

// Sees says of a request whether it is known who asks, and whether he sees all.
func (s *Site) Sees(r *http.Request) (known, all bool) {
	who, err := s.who(r)
	return err == nil, err == nil && who.All
}

func (s *Site) viewers() ([]Viewer, error) {
	if s.opts.Viewers == nil {
		return nil, nil
	}
	return s.opts.Viewers()
}

func (s *Site) who(r *http.Request) (*Who, error) {
	viewers, err := s.viewers()
	if err != nil {
		return nil, err
	}
	if len(viewers) == 0 {
		return &Who{All: true}, nil
	}
	return s.door.who(r, viewers)
}

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// style is a report's, and what the site adds.
var style = report.Style + pageStyle

var pageFuncs = template.FuncMap{"printable": words.Cell}

var pageTemplate = template.Must(template.New("page").Funcs(pageFuncs).Parse(pageText))

// contentPolicy lets a page have its own style and send its forms here, and nothing else: no script, no other host.
var contentPolicy = func() string {
	digest := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}()

// problem is an answer that isn't what was asked for. Its text is shown to whoever asked: it has nothing of others.
type problem struct {
	Status int
	Title  string
	Text   string
	What   string // to do
}

func (p *problem) Error() string { return p.Title + ": " + p.Text }

// page is an answer: HTML within the frame, or a file.
type page struct {
	title   string
	content template.HTML
	foot    template.HTML
	frame   *frame
	asked   asked
	current string // of the navigation
	status  int    // 0 is 200

	file   []byte
	stream durable.File // in place of file; closed when it was sent
	kind   string       // its media type
	name   string
}

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = &patient{w}
	w.Header().Set("Content-Security-Policy", contentPolicy)
	if r.URL.Path == strings.TrimSuffix(Root, "/") {
		http.Redirect(w, r, Root, http.StatusMovedPermanently)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, Root)
	switch {
	case path == "sign-in" && r.Method == http.MethodPost, path == "sign-out" && r.Method == http.MethodPost:
		if err := http.NewCrossOriginProtection().Check(r); err != nil {
			s.tell(w, r, nil, &problem{http.StatusForbidden, "That came from another site",
				"A form of another site can't sign anybody in or out here.", "Use the form on this page."})
			return
		}
		if path == "sign-in" {
			s.signIn(w, r)
		} else {
			s.signOut(w, r)
		}
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "nothing can be changed here: only GET and HEAD are answered", http.StatusMethodNotAllowed)
		return
	}
	who, err := s.who(r)
	if err == nil && path == "sign-in" {
		http.Redirect(w, r, Root, http.StatusSeeOther)
		return
	}
	if err != nil {
		s.tell(w, r, nil, err)
		return
	}
	p, err := s.answer(r.Context(), who, path, r.URL.Query())
	if err != nil {
		s.tell(w, r, who, err)
		return
	}
	if p.name != "" {
		w.Header().Set("Content-Type", p.kind)
		w.Header().Set("Content-Disposition", `attachment; filename="`+p.name+`"`)
	}
	switch {
	case p.stream != nil:
		http.ServeContent(w, r, p.name, time.Time{}, p.stream)
		_ = p.stream.Close()
		return
	case p.file != nil:
		_, _ = w.Write(p.file)
		return
	}
	s.write(w, who, cmp.Or(p.status, http.StatusOK), p)
}

// answer makes what a path is asked for.
func (s *Site) answer(ctx context.Context, who *Who, path string, values url.Values) (*page, error) {
	reader, err := s.lib.Reader(ctx, library.Sight{All: who.All, Scope: who.Scope})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	p, err := s.page(ctx, reader, path, values)
	if _, compared := changeAt(path); err == nil && p.name == "" && path != "sql" && !compared { // what is kept
		reader.Asked(path + "?" + values.Encode())
	}
	return p, err
}

// Watch has the pages of each file that is published made before they are asked for, until ctx ends: the months, what
// is charged in the last two of them, and what was asked for of the file before. At each tick it looks for another one.
func (s *Site) Watch(ctx context.Context, tick <-chan time.Time) {
	first := func(ctx context.Context, reader *library.Reader) ([]string, error) {
		f, err := frameOf(ctx, reader)
		if err != nil {
			return nil, err
		}
		out := []string{"", "chargeback"}
		for _, p := range f.Periods[:min(2, len(f.Periods))] {
			out = append(out, "chargeback?"+url.Values{"period": {p}}.Encode())
		}
		return out, nil
	}
	again := func(ctx context.Context, reader *library.Reader, address string) error {
		path, query, _ := strings.Cut(address, "?")
		values, err := url.ParseQuery(query)
		if err == nil {
			_, err = s.page(ctx, reader, path, values)
		}
		return err
	}
	s.lib.Watch(ctx, tick, library.Ahead{First: first, Again: again, Holds: s.holds})
}

// page makes what a path is asked for.
func (s *Site) page(ctx context.Context, reader *library.Reader, path string, values url.Values) (*page, error) {
	name, format, file := strings.Cut(path, ".")
	if of, ok := changeAt(path); ok {
		return s.compared(ctx, reader, of, values)
	}
	switch {
	case path == "":
		return s.index(ctx, reader, values)
	case path == "closed":
		return s.closedMonth(ctx, reader, values)
	case path == "questions":
		return s.questions(ctx, reader, values)
	case name == "records":
		return s.records(ctx, reader, values, format)
	case name == "sql":
		return s.sql(ctx, reader, values, format)
	}
	r, ok := report.Find(name)
	if !ok || file && files[format].kind == "" {
		return nil, noPage()
	}
	return s.report(ctx, reader, r, values, format)
}

// shown is what the template is given.
type shown struct {
	Style          template.CSS
	Title, Version string
	Who            string
	Signed         bool
	Operator       string
	Nav            []link
	Content, Foot  template.HTML
	Frame          *frame
	Form           *form
	Problem        *problem
	SignIn         bool
	Next           string
}

type link struct {
	Label, Address, About string
	Current               bool
}

func (s *Site) write(w http.ResponseWriter, who *Who, status int, p *page) {
	d := &shown{Style: template.CSS(style), Title: p.title, Version: s.opts.Version, Content: p.content, Foot: p.foot,
		Frame: p.frame, Nav: p.asked.nav(p.current)}
	if who != nil {
		d.Who, d.Signed = who.Name, who.signed
		if who.All {
			d.Operator = s.opts.Operator
		}
		for _, c := range s.comparing(who.All) {
			is := changes[c.Of]
			d.Nav = append(d.Nav, link{"Change of " + is.these, Root + is.path, "", p.current == is.path})
		}
	}
	if p.frame != nil {
		d.Form = p.asked.form(p.frame)
	}
	s.render(w, status, d)
}

func (s *Site) render(w http.ResponseWriter, status int, d *shown) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, d); err != nil {
		s.log.Error("finance's page can't be made", "error", err)
		http.Error(w, "the page can't be made: see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// tell answers with a page that says what is amiss, and what to do. What isn't known to be fit for whoever asked goes
// to the log alone.
func (s *Site) tell(w http.ResponseWriter, r *http.Request, who *Who, err error) {
	d := &shown{Style: template.CSS(style), Version: s.opts.Version, Next: next(r.URL.RequestURI())}
	if who != nil {
		d.Who, d.Signed = who.Name, who.signed
		d.Nav = asked{viewer: who.scope()}.nav("")
	}
	var p *problem
	var options *report.OptionsError
	var refused *posting.Error
	switch {
	case errors.As(err, &p):
	case errors.Is(err, errUnknown), errors.Is(err, errExpired), errors.Is(err, errWrong):
		p = &problem{http.StatusUnauthorized, "Sign in", "Finance's pages are for those who have a token.",
			"Whoever runs usagelake hands them out."}
		switch {
		case errors.Is(err, errExpired):
			p.Text = "The session is over: it lasts twelve hours, and ends when its token is replaced."
			http.SetCookie(w, s.cookie(r, "", -1))
		case errors.Is(err, errWrong):
			p.Text = "Nobody here has that token."
		}
		d.SignIn = true
		w.Header().Add("WWW-Authenticate", `Bearer realm="usagelake"`)
	case errors.Is(err, errCrowded):
		p = &problem{http.StatusTooManyRequests, "Too many tries", "Several tokens came that nobody has.",
			"Try it again in a moment."}
		w.Header().Set("Retry-After", "5")
	case errors.Is(err, errNobody):
		p = &problem{http.StatusForbidden, "Nothing here is yours",
			"You are signed in, and the list of who sees what doesn't have you.", "Ask whoever runs usagelake to add you to it."}
	case errors.As(err, &options):
		p = &problem{http.StatusBadRequest, "That can't be shown", sentence(options.Message),
			"Change what is asked for above, or begin anew."}
	case errors.As(err, &refused): // a journal, which is for those who see all
		p = &problem{http.StatusConflict, "That can't be posted", sentence(refused.Message),
			"Tell whoever runs usagelake: " + refused.Hint + "."}
	case errors.Is(err, report.ErrNothing):
		p = &problem{http.StatusNotFound, "Nothing yet", "Nothing is charged to you in what is published so far.",
			"It is here as soon as there is any usage of yours."}
	case errors.Is(err, query.ErrNotPublished), errors.Is(err, library.ErrMoved):
		p = &problem{http.StatusServiceUnavailable, "Nothing can be shown now",
			"The published file isn't there, or is being moved.", "Try it again in some minutes. If it lasts, tell whoever " +
				"runs usagelake."}
	case errors.Is(err, query.ErrOlderTables):
		p = &problem{http.StatusServiceUnavailable, "Nothing can be shown now",
			"The published file is of an older version of usagelake.", "It is made anew by the next export that publishes."}
	case errors.Is(err, library.ErrCarved):
		p = &problem{http.StatusServiceUnavailable, "It is being made", "What is yours is being taken out of what was " +
			"published.", "Ask again in some moments."}
		w.Header().Set("Retry-After", "10")
	case errors.Is(err, library.ErrBusy):
		p = &problem{http.StatusServiceUnavailable, "It is busy here", "What others asked for is being made.",
			"Ask again in some moments."}
		w.Header().Set("Retry-After", "10")
	case errors.Is(err, context.DeadlineExceeded):
		p = tooLong(library.MakeLimit)
	case errors.Is(err, context.Canceled):
		p = &problem{http.StatusServiceUnavailable, "That was stopped", "The question was given up.", "Ask it again."}
	default:
		p = &problem{http.StatusInternalServerError, "That can't be shown", "Something is amiss here.",
			"Tell whoever runs usagelake: its log says what it is."}
	}
	if p.Status >= 500 {
		s.log.Error("finance's page", "path", r.URL.Path, "error", err)
	}
	d.Title, d.Problem = p.Title, p
	s.render(w, p.Status, d)
}

func tooLong(limit time.Duration) *problem {
	return &problem{http.StatusServiceUnavailable, "That took too long", fmt.Sprintf("It was stopped after %s.", limit),
		"Ask for less: a shorter period, or one owner."}
}

// sentence has a message begin and end as a sentence; the key of an address stays what it is.
func sentence(message string) string {
	message = strings.TrimRight(message, ".")
	if first, _, _ := strings.Cut(message, " "); strings.Contains(first, "=") {
		return message + "."
	}
	return strings.ToUpper(message[:1]) + message[1:] + "."
}

// next is where to go on after signing in: an address of this site, and no other.
func next(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, Root) &&
		!strings.HasPrefix(u.Path, Root+"sign-") {
		return u.RequestURI()
	}
	return Root
}

func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	viewers, err := s.viewers()
	if err == nil && len(viewers) == 0 {
		http.Redirect(w, r, Root, http.StatusSeeOther)
		return
	}
	var id string
	if err == nil {
		// The body alone: a token in an address would stand in logs.
		id, err = s.door.begin(r, strings.TrimSpace(r.PostFormValue("token")), viewers)
	}
	if err != nil {
		r.URL, _ = url.Parse(next(r.PostFormValue("next"))) // where the form goes on to; next has parsed it
		s.tell(w, r, nil, err)
		return
	}
	http.SetCookie(w, s.cookie(r, id, int(sessionFor.Seconds())))
	http.Redirect(w, r, next(r.PostFormValue("next")), http.StatusSeeOther)
}

func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		s.door.end(c.Value)
	}
	http.SetCookie(w, s.cookie(r, "", -1))
	http.Redirect(w, r, Root, http.StatusSeeOther)
}

// cookie is for the status page, too, which whoever sees all may see.
func (s *Site) cookie(r *http.Request, id string, age int) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Value: id, Path: "/", MaxAge: age, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // a link that was sent opens the page; nothing is changed by one
		Secure:   r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")}
}
