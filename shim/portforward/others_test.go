package portforward

import (
	"net"
	"net/netip"
	"testing"
)

func TestOthers(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	l := newListeners(n.file)
	for at, finds := range map[string]map[string]bool{
		"0.0.0.0:80":   {"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": false, "127.0.0.1:81": false},
		"127.0.0.2:80": {"127.0.0.2:80": true, "127.0.0.1:80": false},
		"[::1]:80":     {"[::1]:80": true, "127.0.0.1:80": false},
		"[::]:80":      {"[::1]:80": true, "127.0.0.1:80": true},
	} {
		var ln net.Listener
		if err := inNetns(n.file, func() (err error) {
			// Go takes the other version too for an address like 0.0.0.0.
			network := "tcp4"
			if at[0] == '[' {
				network = "tcp"
			}
			ln, err = net.Listen(network, at)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for to, want := range finds {
			if is, err := l.others(netip.MustParseAddrPort(to)); err != nil || is != want {
				t.Errorf("for %s on %s: %v, %v", to, at, is, err)
			}
		}
		_ = ln.Close()
	}
	if is, err := l.others(netip.MustParseAddrPort("127.0.0.1:80")); err != nil || is {
		t.Errorf("nobody: %v, %v", is, err)
	}
}

func TestParseListener(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"",
		"  sl  local_address rem_address   st tx_queue rx_queue",
		"   0: 0100007F:1F90 0100007F:0050 01 00000000:00000000", // connected
		"   0: 0100007F 00000000:0000 0A",
		"   0: 01007F:1F90 00000000:0000 0A",
		"   0: xx00007F:1F90 00000000:0000 0A",
		"   0: 0100007F0100007F:1F90 00000000:0000 0A",
	} {
		if at, ok := parseListener(line); ok {
			t.Errorf("%q listens at %s", line, at)
		}
	}
}
