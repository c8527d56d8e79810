package relay

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// FuzzDialer checks that whatever a relay sends, as who has broken out of a container may
// have taken it over, a dial ends with a connection or with why there is none, and a
// connection can be asked how it has ended.
func FuzzDialer(f *testing.F) {
	f.Add([]byte{connected}, []byte{}, true, false)
	f.Add([]byte("\x01connection refused"), []byte{}, true, false)
	f.Add([]byte("\x01\xff\x00\n"), []byte{1, 0, 0, 0, 0, 0, 0, 0}, false, false)
	f.Add([]byte("\x00hello"), []byte{1, 0, 0, 0, 0, 0, 0, 0}, true, false)
	f.Add([]byte{}, []byte("more than eight bytes"), true, true)
	f.Add([]byte{}, []byte{7}, false, false)
	to := netip.MustParseAddrPort("127.0.0.1:80")
	f.Fuzz(func(t *testing.T, onStream, onRequests []byte, answers, ends bool) {
		d, theirs, err := New()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		done := make(chan struct{})
		go func() {
			defer close(done)
			lie(theirs, onStream, onRequests, answers, ends)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := d.Dial(ctx, to)
		switch {
		case ctx.Err() != nil:
			t.Error("it hangs")
		case err != nil && (conn.UnixConn != nil || !errdefs.IsUnavailable(err) && !errdefs.IsAborted(err)):
			t.Errorf("%v, %v", conn, err)
		case err != nil && len(err.Error()) > 2<<10:
			t.Errorf("an error of %d bytes", len(err.Error()))
		case err == nil:
			if !answers || len(onStream) == 0 || onStream[0] != connected {
				t.Errorf("connected, by %q", onStream)
			}
			_ = conn.IsBroken()
			if conn.IsBroken() {
				t.Error("it was said to be broken twice")
			}
			_ = conn.Close()
		}
		_ = d.Close()
		<-done
	})
}

// lie is a relay that says this once it is asked for a connection. It then ends, or waits for
// the end of the one who asks.
func lie(requests *os.File, onStream, onRequests []byte, answers, ends bool) {
	conn, err := unixConn(requests)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, stream, err := receive(conn)
	if err != nil {
		return
	}
	say := func(c *net.UnixConn, b []byte) {
		if len(b) > 0 {
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			_, _ = c.Write(b)
		}
	}
	say(conn, onRequests)
	if answers {
		say(stream, onStream)
	}
	_ = stream.Close()
	if !ends {
		_, _ = conn.Read(make([]byte, 1))
	}
}

// FuzzRequest checks that a request arrives as it was sent, and that of what is none nothing
// is done.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{}, uint64(1), "127.0.0.1:80")
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7}, uint64(1<<63), "[::1]:0")
	f.Add([]byte("12345678\xff"), uint64(0), "")
	f.Fuzz(func(t *testing.T, b []byte, number uint64, address string) {
		if r, ok := decode(b); ok != (len(b) >= 8) || ok && string(r.encode()) != string(b) || !ok && r != (request{}) {
			t.Errorf("%x is %+v, %t", b, r, ok)
		}
		want := request{number, address}
		if got, ok := decode(want.encode()); !ok || got != want {
			t.Errorf("%+v became %+v, %t", want, got, ok)
		}
	})
}
