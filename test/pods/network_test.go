package pods

import (
	"context"
	"fmt"
	"io"
	"net"
)

// talk sends so many bytes to a server of the kit at the pod's address, and reads them
// back.
func (p *pod) talk(port, size int) {
	p.t.Helper()
	ips, err := p.IPs(bounded(p.t))
	check(p.t, err)
	var conn net.Conn
	p.until("the pod's server answers", func(ctx context.Context) (bool, string) {
		conn, err = p.node.Dial(ctx, "tcp", net.JoinHostPort(ips[0], fmt.Sprint(port)))
		return err == nil, fmt.Sprint(err)
	})
	defer func() { _ = conn.Close() }()
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	n, err := io.CopyN(io.Discard, conn, int64(size))
	if err != nil {
		p.t.Errorf("%d of %d bytes came back: %v", n, size, err)
	}
}
