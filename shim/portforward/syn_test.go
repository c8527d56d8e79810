package portforward

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// tcpSegment is the begin of a TCP header.
func tcpSegment(from, to uint16, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[12], b[tcpFlags] = 5<<4, flags
	return b
}

// ipPacket puts a segment into a packet, whose IPv4 header has room for so many options.
func ipPacket(from, to string, options int, segment []byte) []byte {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	if src.Is6() {
		head := make([]byte, 8, ipv6Header)
		head[0], head[6] = 6<<4, protocolTCP
		return slices.Concat(head, src.AsSlice(), dst.AsSlice(), segment)
	}
	head := make([]byte, 12, 60)
	head[0], head[9] = 4<<4|byte(5+options/4), protocolTCP
	return slices.Concat(head, src.AsSlice(), dst.AsSlice(), make([]byte, options), segment)
}

func TestParseSYN(t *testing.T) {
	t.Parallel()
	syn := tcpSegment(40000, 80, flagSYN)
	changed := func(packet []byte, at int, b byte) []byte {
		packet[at] = b
		return packet
	}
	for name, tc := range map[string]struct {
		packet []byte
		want   string
	}{
		"IPv4":              {ipPacket("127.0.0.1", "127.0.0.1", 0, syn), "127.0.0.1:40000 127.0.0.1:80"},
		"another loopback":  {ipPacket("127.0.0.1", "127.9.8.7", 0, syn), "127.0.0.1:40000 127.9.8.7:80"},
		"options":           {ipPacket("127.0.0.1", "127.0.0.1", 40, syn), "127.0.0.1:40000 127.0.0.1:80"},
		"cut after flags":   {ipPacket("127.0.0.1", "127.0.0.1", 0, syn[:tcpFlags+1]), "127.0.0.1:40000 127.0.0.1:80"},
		"ECN":               {ipPacket("127.0.0.1", "127.0.0.1", 0, tcpSegment(40000, 80, flagSYN|0xc0)), "127.0.0.1:40000 127.0.0.1:80"},
		"IPv6":              {ipPacket("::1", "::1", 0, syn), "[::1]:40000 [::1]:80"},
		"SYN-ACK":           {ipPacket("127.0.0.1", "127.0.0.1", 0, tcpSegment(40000, 80, flagSYN|flagACK)), ""},
		"data":              {ipPacket("127.0.0.1", "127.0.0.1", 0, tcpSegment(40000, 80, flagACK)), ""},
		"not loopback":      {ipPacket("127.0.0.1", "10.0.0.1", 0, syn), ""},
		"not loopback, 6":   {ipPacket("::1", "fe80::1", 0, syn), ""},
		"UDP":               {changed(ipPacket("127.0.0.1", "127.0.0.1", 0, syn), 9, 17), ""},
		"UDP, 6":            {changed(ipPacket("::1", "::1", 0, syn), 6, 17), ""},
		"a fragment":        {changed(ipPacket("127.0.0.1", "127.0.0.1", 0, syn), 7, 1), ""},
		"a short header":    {changed(ipPacket("127.0.0.1", "127.0.0.1", 0, syn), 0, 4<<4|4), ""},
		"a long header":     {changed(ipPacket("127.0.0.1", "127.0.0.1", 0, syn), 0, 4<<4|15), ""},
		"cut before flags":  {ipPacket("127.0.0.1", "127.0.0.1", 0, syn[:tcpFlags]), ""},
		"cut in the header": {ipPacket("::1", "::1", 0, syn)[:ipv6Header-1], ""},
		"another version":   {changed(ipPacket("127.0.0.1", "127.0.0.1", 0, syn), 0, 5<<4|5), ""},
		"nothing":           {nil, ""},
	} {
		f, ok := parseSYN(tc.packet)
		if got := f.from.String() + " " + f.to.String(); ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s: %s, %v, want %q", name, got, ok, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ipPacket("127.0.0.1", "127.0.0.1", 8, tcpSegment(1, 2, flagSYN)))
	f.Add(ipPacket("::1", "::1", 0, tcpSegment(1, 2, flagSYN)))
	f.Add([]byte{8, 0, 1, 0, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseSYN(b); ok && !c.to.Addr().IsLoopback() {
			t.Errorf("a SYN to %s", c.to)
		}
		_, _ = parsePacket(b)
	})
}
