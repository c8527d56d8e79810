package portforward

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	tableName = "containerd-shim-runsc"
	chainName = "output"

	// tableOwned ties a table to the socket that made it (NFT_TABLE_F_OWNER).
	tableOwned = 0x2

	// xtQueue is the target of x_tables that queues, xtQueueRevision the first that
	// has flags, and xtBypass the one that lets packets pass when nobody reads the
	// queue (linux/netfilter/xt_NFQUEUE.h).
	xtQueue         = "NFQUEUE"
	xtQueueRevision = 3
	xtBypass        = 1
)

// way is how the tables are made. Not every kernel has all.
type way struct {
	// owner makes the kernel remove the tables with the socket; since Linux 5.12.
	owner bool
	// compat queues by the target of x_tables, where nftables has none of its own.
	compat bool
}

// ways are the ways, the best first.
func ways() []way {
	return []way{{owner: true}, {owner: true, compat: true}, {}, {compat: true}}
}

// protocol is a version of IP and what its packets to loopback are known by.
type protocol struct {
	family byte
	// offset is where in the header the destination is, or as much of it as tells.
	offset uint32
	prefix []byte
}

func protocols() []protocol {
	return []protocol{
		{unix.NFPROTO_IPV4, 16, []byte{127}},
		{unix.NFPROTO_IPV6, 24, netip.IPv6Loopback().AsSlice()},
	}
}

// batch is changes of tables of which all are made or none.
type batch []netlink.Message

func (b *batch) add(operation int, p protocol, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) {
	m := message(netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|operation), p.family, 0, attributes)
	m.Header.Flags |= netlink.Acknowledge | flags
	*b = append(*b, m)
}

// all returns what is to be sent.
func (b batch) all() []netlink.Message {
	mark := func(kind netlink.HeaderType) netlink.Message {
		return message(kind, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, func(*netlink.AttributeEncoder) {})
	}
	return append(append([]netlink.Message{mark(unix.NFNL_MSG_BATCH_BEGIN)}, b...), mark(unix.NFNL_MSG_BATCH_END))
}

// transact makes the changes.
func (q *queue) transact(b batch) error {
	if _, err := q.conn.SendMessages(b.all()); err != nil {
		return err
	}
	for acknowledged := 0; acknowledged < len(b); {
		messages, err := q.conn.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type == netlink.Error { // with code 0, which is success
				acknowledged++
			}
		}
	}
	return nil
}

// createTables makes tables in which TCP's SYNs to loopback are queued, and in which what
// comes back marked is refused.
func createTables(w way) batch {
	var b batch
	if !w.owner {
		// Those of a process that was killed may be there.
		b.addTables(0)
		b = append(b, removeTables()...)
		b.addTables(0)
	} else {
		b.addTables(tableOwned)
	}
	for _, p := range protocols() {
		b.add(unix.NFT_MSG_NEWCHAIN, p, netlink.Create, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_CHAIN_TABLE, tableName)
			ae.String(unix.NFTA_CHAIN_NAME, chainName)
			nested(ae, unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) {
				ae.Uint32(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT)
				ae.Uint32(unix.NFTA_HOOK_PRIORITY, 0)
			})
			ae.String(unix.NFTA_CHAIN_TYPE, "filter")
		})
		b.addRule(p, func(r rule) {
			r.meta(unix.NFT_META_MARK)
			r.compare(binary.NativeEndian.AppendUint32(nil, refusalMark))
			r.meta(unix.NFT_META_L4PROTO)
			r.compare([]byte{protocolTCP})
			r.reject()
		})
		b.addRule(p, func(r rule) {
			r.meta(unix.NFT_META_L4PROTO)
			r.compare([]byte{protocolTCP})
			r.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, p.offset, len(p.prefix))
			r.compare(p.prefix)
			r.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, tcpFlags, 1)
			r.mask(flagSYN | flagACK)
			r.compare([]byte{flagSYN})
			if w.compat {
				r.queueCompat()
			} else {
				r.queue()
			}
		})
	}
	return b
}

func (b *batch) addTables(flags uint32) {
	for _, p := range protocols() {
		b.add(unix.NFT_MSG_NEWTABLE, p, netlink.Create, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_TABLE_NAME, tableName)
			ae.Uint32(unix.NFTA_TABLE_FLAGS, flags)
		})
	}
}

func (b *batch) addRule(p protocol, expressions func(rule)) {
	b.add(unix.NFT_MSG_NEWRULE, p, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, tableName)
		ae.String(unix.NFTA_RULE_CHAIN, chainName)
		nested(ae, unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) { expressions(rule{ae}) })
	})
}

func removeTables() batch {
	var b batch
	for _, p := range protocols() {
		b.add(unix.NFT_MSG_DELTABLE, p, 0, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_TABLE_NAME, tableName) })
	}
	return b
}

// rule is the list of a rule's expressions. They work on one register.
type rule struct {
	list *netlink.AttributeEncoder
}

func (r rule) add(name string, data func(*netlink.AttributeEncoder)) {
	nested(r.list, unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_EXPR_NAME, name)
		nested(ae, unix.NFTA_EXPR_DATA, data)
	})
}

func (r rule) meta(key uint32) {
	r.add("meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_DREG, unix.NFT_REG_1)
		ae.Uint32(unix.NFTA_META_KEY, key)
	})
}

func (r rule) payload(base, offset uint32, length int) {
	r.add("payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, base)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, uint32(length))
	})
}

func (r rule) mask(bits byte) {
	r.add("bitwise", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1)
		ae.Uint32(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1)
		ae.Uint32(unix.NFTA_BITWISE_LEN, 1)
		value(ae, unix.NFTA_BITWISE_MASK, []byte{bits})
		value(ae, unix.NFTA_BITWISE_XOR, []byte{0})
	})
}

func (r rule) compare(want []byte) {
	r.add("cmp", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
		ae.Uint32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
		value(ae, unix.NFTA_CMP_DATA, want)
	})
}

func (r rule) reject() {
	r.add("reject", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_TCP_RST)
	})
}

func (r rule) queue() {
	r.add("queue", func(ae *netlink.AttributeEncoder) {
		ae.Uint16(unix.NFTA_QUEUE_NUM, queueNumber)
		ae.Uint16(unix.NFTA_QUEUE_TOTAL, 1)
		ae.Uint16(unix.NFTA_QUEUE_FLAGS, unix.NFT_QUEUE_FLAG_BYPASS)
	})
}

func (r rule) queueCompat() {
	// struct xt_NFQ_info_v3, in the machine's byte order and padded to 8 bytes
	var info []byte
	for _, n := range []uint16{queueNumber, 1, xtBypass, 0} {
		info = binary.NativeEndian.AppendUint16(info, n)
	}
	r.add("target", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TARGET_NAME, xtQueue)
		ae.Uint32(unix.NFTA_TARGET_REV, xtQueueRevision)
		ae.Bytes(unix.NFTA_TARGET_INFO, info)
	})
}

func value(ae *netlink.AttributeEncoder, attribute uint16, b []byte) {
	nested(ae, attribute, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.NFTA_DATA_VALUE, b) })
}
