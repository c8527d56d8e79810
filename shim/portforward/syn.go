package portforward

import (
	"encoding/binary"
	"net/netip"
)

// flow is a TCP connection as its client sees it.
type flow struct {
	from, to netip.AddrPort
}

const (
	protocolTCP = 6
	ipv6Header  = 40

	// flagSYN and flagACK are in byte tcpFlags of a TCP header.
	flagSYN  = 0x02
	flagACK  = 0x10
	tcpFlags = 13

	// headers is as much of a packet as has to be seen: the longest header of IPv4
	// and what is fixed of TCP's.
	headers = 60 + 20
)

// parseSYN returns the connection that the packet begins. It is not ok if the packet,
// which starts with the IP header, begins none.
func parseSYN(packet []byte) (f flow, ok bool) {
	if len(packet) == 0 {
		return flow{}, false
	}
	var from, to netip.Addr
	var tcp []byte
	switch packet[0] >> 4 {
	case 4:
		header := int(packet[0]&0x0f) * 4
		const least = 20
		if header < least || len(packet) < header || packet[9] != protocolTCP {
			return flow{}, false
		}
		if offset := binary.BigEndian.Uint16(packet[6:]) & 0x1fff; offset != 0 {
			return flow{}, false // not the first fragment
		}
		from, to = netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
		tcp = packet[header:]
	case 6:
		// There are no extension headers between TCP and its own host.
		if len(packet) < ipv6Header || packet[6] != protocolTCP {
			return flow{}, false
		}
		from, to = netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
		tcp = packet[ipv6Header:]
	}
	if len(tcp) <= tcpFlags || tcp[tcpFlags]&(flagSYN|flagACK) != flagSYN {
		return flow{}, false
	}
	f = flow{
		from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)),
		to:   netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
	}
	return f, f.to.Addr().IsLoopback()
}
