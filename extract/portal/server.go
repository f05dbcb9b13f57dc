package portal

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is a Portal that listens.
type Server struct {
	l    net.Listener
	s    *http.Server
	done chan struct{}
	err  error
}

// Listen serves a Portal on an address such as 127.0.0.1:0. An address other than loopback is refused unless anywhere
// is set: the simulation's keys are no secret.
func Listen(addr string, p *Portal, anywhere bool) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if !anywhere && host != "localhost" && !loopback(host) {
		return nil, fmt.Errorf("listen on %q: not a loopback address", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{l: l, done: make(chan struct{}), s: &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute}}
	go func() {
		defer close(s.done)
		if err := s.s.Serve(l); err != http.ErrServerClosed {
			s.err = err
		}
	}()
	return s, nil
}

// Addr is where the server listens, host and port.
func (s *Server) Addr() string { return s.l.Addr().String() }

// URL is http://host:port, without a path; the simulation's own side is URL() + "/sim/".
func (s *Server) URL() string {
	addr := s.Addr()
	if a, ok := s.l.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		addr = net.JoinHostPort("127.0.0.1", fmt.Sprint(a.Port))
	}
	return "http://" + addr
}

// BaseURL is the base of the Manager API, as a client is configured with it.
func (s *Server) BaseURL() string { return s.URL() + BasePath }

// Done is closed when the server has stopped.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is why the server stopped by itself; nil while it runs or after Shutdown or Close. Ask after Done.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Shutdown lets the requests under way finish, as long as ctx allows, and stops.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.s.Shutdown(ctx); err != nil {
		return s.s.Close()
	}
	return nil
}

// Close stops at once.
func (s *Server) Close() error { return s.s.Close() }
