package assist

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/usagelake/usagelake/jobs/serve/library"
)

// drained has what came before the end of the input answered: the library gives up what it is answering once the input
// ends, and a client that writes its questions and closes would get nothing.
type drained struct{ mcp.Transport }

func (d drained) Connect(ctx context.Context) (mcp.Connection, error) {
	c, err := d.Transport.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &drainedConnection{Connection: c, open: map[jsonrpc.ID]bool{}, answered: make(chan struct{}, 1),
		closed: make(chan struct{})}, nil
}

// drainedConnection counts what isn't answered yet. mu guards open; answered says that open has become less.
type drainedConnection struct {
	mcp.Connection
	mu       sync.Mutex
	open     map[jsonrpc.ID]bool
	answered chan struct{}

	once   sync.Once
	closed chan struct{}
}

func (c *drainedConnection) Read(ctx context.Context) (jsonrpc.Message, error) {
	m, err := c.Connection.Read(ctx)
	if r, ok := m.(*jsonrpc.Request); ok && err == nil && r.IsCall() {
		c.mu.Lock()
		c.open[r.ID] = true
		c.mu.Unlock()
	}
	if errors.Is(err, io.EOF) {
		c.drain(ctx)
	}
	return m, err
}

// drain waits until all is answered, but no longer than an answer may take: what a client took back isn't answered.
func (c *drainedConnection) drain(ctx context.Context) {
	longest := time.NewTimer(library.AnswerLimit)
	defer longest.Stop()
	for {
		c.mu.Lock()
		n := len(c.open)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-c.answered:
		case <-c.closed:
			return
		case <-ctx.Done():
			return
		case <-longest.C:
			return
		}
	}
}

func (c *drainedConnection) Write(ctx context.Context, m jsonrpc.Message) error {
	err := c.Connection.Write(ctx, m)
	if r, ok := m.(*jsonrpc.Response); ok {
		c.mu.Lock()
		delete(c.open, r.ID)
		c.mu.Unlock()
		select {
		case c.answered <- struct{}{}:
		default:
		}
	}
	return err
}

func (c *drainedConnection) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Connection.Close()
}
