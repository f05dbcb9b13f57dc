package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
)

const unixPrefix = "unix:"

// socketMode lets the owner and the group connect.
const socketMode fs.FileMode = 0o660

// longestSocket is how long the path of a unix socket may be: the least that a system takes (macOS), less the temporary
// name it has at first.
const longestSocket = 103 - len("/.usagelake-1234567890/s")

// CheckAddress tells whether addr may be listened on: HOST:PORT on loopback, unix:/PATH/OF/SOCKET, or with a token any
// other HOST:PORT. The error says what to write instead.
func CheckAddress(addr string, token bool) error {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path:
			return fmt.Errorf("listen %q: write the whole path of the socket, such as unix:/run/usagelake/http.sock", addr)
		case len(path) > longestSocket:
			return fmt.Errorf("listen %q: the path of the socket has %d bytes; %d is the most that works everywhere", addr,
				len(path), longestSocket)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen %q: write HOST:PORT, such as %s or [::1]:9464, or unix:/run/usagelake/http.sock",
			addr, config.DefaultListen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("listen %q: %q is not a port: write a number up to 65535, such as %s", addr, port,
			net.JoinHostPort(host, "9464"))
	}
	if token || loopback(host) {
		return nil
	}
	where := "is reachable from other machines"
	if host == "" {
		where = "means every address of this machine"
	}
	return fmt.Errorf("listen %q: it %s and so needs a token: set one, or listen on 127.0.0.1:%s or on a unix socket",
		addr, where, port)
}

// loopback says that a host, without its port, is this machine alone.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Listen listens on addr, which must pass CheckAddress. A unix socket can be connected to by its owner and its group;
// one that was left behind is replaced, one that somebody listens on is not. A process that is killed leaves its socket
// behind: nobody answers there, by which the next one knows it.
func Listen(addr string, token bool) (net.Listener, error) {
	if err := CheckAddress(addr, token); err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		l, err := listenUnix(path)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", addr, err)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	// localhost is what the resolver says it is.
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && !token && !tcp.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("listen %s: the name stands for %s, which is not loopback: write %s, or set a token",
			addr, tcp.IP, config.DefaultListen)
	}
	return l, nil
}

// listenUnix makes the socket in a directory of its own, where nobody can connect before it has its mode, and renames
// it. Bound under its own name it might be open to others for a moment, by the umask. A kill in between leaves the
// directory, .usagelake-…, which is in nobody's way and can be deleted.
func listenUnix(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("there is something else under this name, and it is no socket: move it away, or name " +
			"another path")
	default:
		// Refused: nobody listens. Another error, or silence, isn't known to be a dead one, and is left alone.
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another process listens there: %w", syscall.EADDRINUSE)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".usagelake-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it will have another name
	err = os.Chmod(filepath.Join(dir, "s"), socketMode)
	if err == nil {
		err = os.Rename(filepath.Join(dir, "s"), path)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &socket{Listener: l, path: path}, nil
}

// socket is a listener on a unix socket that takes its file away when it is closed.
type socket struct {
	net.Listener
	path string
	once sync.Once
}

func (s *socket) Close() error {
	err := s.Listener.Close()
	s.once.Do(func() { _ = os.Remove(s.path) })
	return err
}
