package serve

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// connections bounds how many are open at once. One too many takes the place of that which has asked nothing for the
// longest time; if all of them are asking it is closed itself. So whoever holds connections open, and however many,
// takes neither the descriptors that jobs and the journal need nor the next one's turn.
//
// mu guards both lists. A connection is in open from its first state to its last, and in idle, too, while no request of
// it is being answered. One that is to be closed leaves both at once: its own last state comes later, and finds
// nothing.
type connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]bool
	idle []net.Conn // the longest idle first
}

// state is an http.Server's ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if over := c.note(conn, s); over != nil {
		_ = over.Close() // what of it can't be said is nobody's concern
	}
}

func (c *connections) note(conn net.Conn, s http.ConnState) (over net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Whatever its state is now, its place in the queue is lost. There are 64 at the most: a search costs nothing.
	c.idle = slices.DeleteFunc(c.idle, func(i net.Conn) bool { return i == conn })
	switch s {
	case http.StateNew:
		if len(c.open) >= c.most {
			over = conn
			if len(c.idle) > 0 {
				over = c.idle[0]
				c.idle = c.idle[1:]
			}
			delete(c.open, over)
			if over == conn {
				return over
			}
		}
		c.open[conn] = true
		c.idle = append(c.idle, conn)
	case http.StateIdle:
		// Not one that has just been given up for another.
		if c.open[conn] {
			c.idle = append(c.idle, conn)
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
	return over
}
