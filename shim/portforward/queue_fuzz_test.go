package portforward

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
)

// FuzzPacket checks that what the kernel says of a packet is read as it was meant, whatever
// else it says, and that of what does not say which packet it is nothing is read.
func FuzzPacket(f *testing.F) {
	f.Add(uint32(7), ipPacket("127.0.0.1", "127.0.0.1", 0, tcpSegment(1, 2, flagSYN)), []byte{}, uint16(3))
	f.Add(uint32(0), []byte{}, []byte{8, 0, 1, 0, 0, 0, 0, 7}, uint16(99))
	f.Add(uint32(1<<31), []byte{0x45}, []byte{3, 0, 1, 0}, uint16(packetHeader))
	f.Add(uint32(1), []byte{1}, []byte{4, 0, 1, 0}, uint16(packetPayload))
	f.Fuzz(func(t *testing.T, id uint32, payload, raw []byte, kind uint16) {
		if p, ok := parsePacket(raw); ok && len(raw) < 8 || len(p.data) > len(raw) {
			t.Errorf("%x is %+v", raw, p)
		}
		const most = 60000 // an attribute's length has 16 bits
		if len(payload) > most || len(raw) > most {
			return
		}
		ae := netlink.NewAttributeEncoder()
		if kind &= 0xff; kind != packetHeader && kind != packetPayload {
			ae.Bytes(kind, raw)
		}
		ae.Bytes(packetHeader, binary.BigEndian.AppendUint32(nil, id))
		ae.Bytes(packetPayload, payload)
		b, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := parsePacket(b); !ok || p.id != id || !bytes.Equal(p.data, payload) {
			t.Errorf("%d with %x became %+v, %t", id, payload, p, ok)
		}
	})
}

// FuzzListener checks that a line of the kernel's table of sockets is read as it was meant,
// and that one that means none is none.
func FuzzListener(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000", []byte{127, 0, 0, 1}, uint16(80))
	f.Add("   0: 00000000000000000000000001000000:1F90 0:0 0A", bytes.Repeat([]byte{0}, 16), uint16(1))
	f.Add("0: 0100007:1F90 x 0A", []byte{0, 0, 0, 0}, uint16(0))
	f.Add("0: :  0A", []byte{1}, uint16(2))
	f.Add("0: 0100007F:1F90 x 01", []byte{}, uint16(3))
	f.Fuzz(func(t *testing.T, line string, ip []byte, port uint16) {
		if local, ok := parseListener(line); ok != local.IsValid() || ok && !covers(local, local) {
			t.Errorf("%q is %v, %t", line, local, ok)
		}
		addr, isIP := netip.AddrFromSlice(ip)
		if !isIP {
			return
		}
		for i := 0; i < len(ip); i += 4 {
			binary.NativeEndian.PutUint32(ip[i:], binary.BigEndian.Uint32(ip[i:]))
		}
		want := netip.AddrPortFrom(addr.Unmap(), port)
		text := fmt.Sprintf("  12: %s:%04X 00000000:0000 0A 00000000:00000000 00:00000000", hex.EncodeToString(ip), port)
		if local, ok := parseListener(text); !ok || local != want {
			t.Errorf("%q is %v, %t, want %v", text, local, ok, want)
		}
	})
}
