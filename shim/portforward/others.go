package portforward

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// others reports whether somebody in the network namespace listens at the address.
func (l *listeners) others(at netip.AddrPort) (listens bool, err error) {
	err = inNetns(l.netns, func() error {
		for _, path := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
			is, err := listensIn(path, at)
			if errors.Is(err, os.ErrNotExist) {
				continue // a kernel without that version of IP
			}
			if listens = is; is || err != nil {
				return err
			}
		}
		return nil
	})
	return listens, err
}

// listensIn reports whether a table of the kernel's sockets has one that listens at the
// address.
func listensIn(path string, at netip.AddrPort) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if local, ok := parseListener(lines.Text()); ok && covers(local, at) {
			return true, nil
		}
	}
	return false, lines.Err()
}

// parseListener returns where the socket in a line of such a table listens. It is not ok if
// that does not.
func parseListener(line string) (local netip.AddrPort, ok bool) {
	const listening = "0A" // TCP_LISTEN
	// The number, the local address, the remote one and the state.
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != listening {
		return netip.AddrPort{}, false
	}
	address, port, _ := strings.Cut(fields[1], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	b, err := hex.DecodeString(address)
	if err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	// The kernel prints words, in the machine's byte order.
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), ok
}

// covers reports whether who listens at one address gets connections to the other. Those of
// IPv6 who get none of IPv4 look the same as others.
func covers(listener, to netip.AddrPort) bool {
	at := listener.Addr()
	if listener.Port() != to.Port() {
		return false
	}
	return at == to.Addr() || at.IsUnspecified() && (at.Is6() || to.Addr().Is4())
}
