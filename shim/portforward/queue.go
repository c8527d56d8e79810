package portforward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What is needed of linux/netfilter/nfnetlink_queue.h and linux/netfilter.h.
const (
	queuePacket  = unix.NFNL_SUBSYS_QUEUE << 8   // NFQNL_MSG_PACKET, which is 0
	queueVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1 // NFQNL_MSG_VERDICT
	queueConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2 // NFQNL_MSG_CONFIG

	configCommand = 1 // NFQA_CFG_CMD
	configParams  = 2 // NFQA_CFG_PARAMS
	commandBind   = 1 // NFQNL_CFG_CMD_BIND
	commandUnbind = 2 // NFQNL_CFG_CMD_UNBIND
	copyPacket    = 2 // NFQNL_COPY_PACKET

	packetHeader  = 1  // NFQA_PACKET_HDR
	packetVerdict = 2  // NFQA_VERDICT_HDR
	packetMark    = 3  // NFQA_MARK
	packetPayload = 10 // NFQA_PAYLOAD
)

// verdict is what becomes of a packet.
type verdict uint32

const (
	drop   verdict = 0 // NF_DROP
	accept verdict = 1 // NF_ACCEPT
	// refuse makes the packet go through the table again, with a mark by which that
	// answers it with a RST.
	refuse verdict = 4 // NF_REPEAT
)

const (
	// queueNumber is the number of the queue. Each network namespace has its own.
	queueNumber = 28774

	// refusalMark marks a SYN that is to be answered with a RST.
	refusalMark = 0x70667266

	// queueBuffer is how much may wait to be read, in bytes. A SYN takes less than a
	// thousand.
	queueBuffer = 1 << 20

	// setupTimeout bounds the wait for an answer of the kernel, which is there at
	// once.
	setupTimeout = 5 * time.Second
)

// packet is one that waits in the queue for its verdict.
type packet struct {
	id   uint32
	data []byte
}

// queue is the netlink socket to which netfilter hands packets, and which owns the
// tables that make it do so.
type queue struct {
	conn *netlink.Conn
	// bound is set when the queue is made. As one number has one owner, the tables of the
	// namespace are this queue's from then on, and another's before.
	bound bool
}

// openQueue begins to hand packets of the network namespace to a new queue.
func openQueue(ns *os.File) (*queue, error) {
	var first error
	for _, w := range ways() {
		q, err := tryQueue(ns, w)
		if err == nil {
			return q, nil
		}
		if first == nil {
			first = err
		}
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return nil, first
}

func tryQueue(ns *os.File, w way) (_ *queue, err error) {
	conn, err := dialNetfilter(ns)
	if err != nil {
		return nil, fmt.Errorf("connect to netfilter: %w", err)
	}
	q := &queue{conn: conn}
	defer func() {
		if err != nil {
			_ = q.close()
		}
	}()
	// Without a table nothing is queued, so the queue comes first.
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"set up the socket", q.prepare},
		{"make the queue", q.bind},
		{"make the tables", func() error { return q.transact(createTables(w)) }},
		{"set up the socket", func() error { return conn.SetReadDeadline(time.Time{}) }},
	} {
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return q, nil
}

// dialNetfilter connects to netfilter in the network namespace.
func dialNetfilter(ns *os.File) (conn *netlink.Conn, err error) {
	err = inNetns(ns, func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	return conn, err
}

func (q *queue) prepare() error {
	return errors.Join(
		q.conn.SetReadDeadline(time.Now().Add(setupTimeout)),
		q.conn.SetReadBuffer(queueBuffer),
		// What does not fit is dropped and sent again by its sender.
		q.conn.SetOption(netlink.NoENOBUFS, true),
	)
}

// bind makes the queue. One number has one owner.
func (q *queue) bind() error {
	params := binary.BigEndian.AppendUint32(nil, headers)
	for _, m := range []netlink.Message{
		configure(configCommand, []byte{commandBind, 0, 0, 0}),
		configure(configParams, append(params, copyPacket)),
	} {
		m.Header.Flags |= netlink.Acknowledge
		if _, err := q.conn.Execute(m); err != nil {
			return err
		}
		q.bound = true
	}
	return nil
}

func configure(attribute uint16, data []byte) netlink.Message {
	return message(queueConfig, unix.AF_UNSPEC, queueNumber, func(ae *netlink.AttributeEncoder) { ae.Bytes(attribute, data) })
}

// receive waits for packets.
func (q *queue) receive() ([]packet, error) {
	for {
		messages, err := q.conn.Receive()
		// To a verdict on a packet that is gone the kernel says ENOENT.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		var packets []packet
		for _, m := range messages {
			if m.Header.Type != queuePacket || len(m.Data) < nfgenmsg {
				continue
			}
			if p, ok := parsePacket(m.Data[nfgenmsg:]); ok {
				packets = append(packets, p)
			}
		}
		if len(packets) > 0 {
			return packets, nil
		}
	}
}

// parsePacket reads the attributes of a packet in the queue. It is not ok if they do not
// say which it is.
func parsePacket(attributes []byte) (p packet, ok bool) {
	ad, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return packet{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case packetHeader:
			if b := ad.Bytes(); len(b) >= 4 {
				p.id, ok = binary.BigEndian.Uint32(b), true
			}
		case packetPayload:
			p.data = ad.Bytes()
		}
	}
	return p, ok
}

// decide says what becomes of a packet. One whose verdict cannot be sent stays in the
// queue until that is closed.
func (q *queue) decide(id uint32, v verdict) error {
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(v)), id)
	_, err := q.conn.Send(message(queueVerdict, unix.AF_UNSPEC, queueNumber, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(packetVerdict, header)
		if v == refuse {
			ae.Uint32(packetMark, refusalMark)
		}
	}))
	return err
}

// stop ends a receive, and every later one.
func (q *queue) stop() error { return q.conn.SetReadDeadline(time.Unix(1, 0)) }

// close removes the queue and the tables. Packets that wait are dropped.
func (q *queue) close() error {
	if !q.bound {
		return q.conn.Close()
	}
	// The kernel would do it when the socket is closed. But a child that is being
	// started has it open too, for a moment. The answers are not read, as they stand
	// behind packets.
	_, err := q.conn.SendMessages(removeTables().all())
	_, uerr := q.conn.Send(configure(configCommand, []byte{commandUnbind, 0, 0, 0}))
	return errors.Join(err, uerr, q.conn.Close())
}

// nfgenmsg is the size of the header of every message of netfilter.
const nfgenmsg = 4

// message makes a message of netfilter. What resource means depends on its kind.
func message(kind netlink.HeaderType, family uint8, resource uint16, attributes func(*netlink.AttributeEncoder)) netlink.Message {
	data := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	attributes(ae)
	b, err := ae.Encode()
	if err != nil {
		panic(err) // an attribute of more than 64 KiB
	}
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request}, Data: append(data, b...)}
}

// nested adds an attribute that consists of others.
func nested(ae *netlink.AttributeEncoder, attribute uint16, attributes func(*netlink.AttributeEncoder)) {
	ae.Nested(attribute, func(ae *netlink.AttributeEncoder) error {
		attributes(ae)
		return nil
	})
}
