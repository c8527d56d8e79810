package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/streaming/pkg/httpstream"
	httpspdy "k8s.io/streaming/pkg/httpstream/spdy"
)

// ExecStream runs a command in the container with streams, as "kubectl exec" does, and
// waits for its end. A command that fails is an error of k8s.io/client-go/util/exec.
func (c *Container) ExecStream(ctx context.Context, streams remotecommand.StreamOptions, command ...string) error {
	reply, err := c.node().Runtime.Exec(ctx, &runtimeapi.ExecRequest{
		ContainerId: c.ID, Cmd: command, Tty: streams.Tty,
		Stdin: streams.Stdin != nil, Stdout: streams.Stdout != nil, Stderr: streams.Stderr != nil,
	})
	if err != nil {
		return err
	}
	return c.node().stream(ctx, reply.Url, streams)
}

// Attach connects streams with those of the container's first process, as "kubectl
// attach" does, and returns when it or the context ends.
func (c *Container) Attach(ctx context.Context, streams remotecommand.StreamOptions) error {
	reply, err := c.node().Runtime.Attach(ctx, &runtimeapi.AttachRequest{
		ContainerId: c.ID, Tty: streams.Tty,
		Stdin: streams.Stdin != nil, Stdout: streams.Stdout != nil, Stderr: streams.Stderr != nil,
	})
	if err != nil {
		return err
	}
	return c.node().stream(ctx, reply.Url, streams)
}

func (n *Node) stream(ctx context.Context, address string, streams remotecommand.StreamOptions) error {
	target, err := url.Parse(address)
	if err != nil {
		return err
	}
	transport, err := n.spdy()
	if err != nil {
		return err
	}
	executor, err := remotecommand.NewSPDYExecutorForTransports(
		transport, spdy.NewUpgraderForStreaming(transport), http.MethodPost, target)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, streams)
}

// spdy returns a transport to the node's streaming server.
func (n *Node) spdy() (*httpspdy.SpdyRoundTripper, error) {
	return httpspdy.NewRoundTripperWithConfig(httpspdy.RoundTripperConfig{
		UpgradeTransport: &http.Transport{DialContext: n.Dial},
	})
}

// Forward is a connection to a port of a pod, as "kubectl port-forward" makes it.
type Forward struct {
	conn       httpstream.Connection
	data, fail httpstream.Stream
}

// The names of the port-forward protocol, as a kubelet and kubectl speak it.
const (
	forwardProtocol = "portforward.k8s.io"
	headerPort      = "port"
	headerRequest   = "requestID"
	headerStream    = "streamType"
)

// Forward connects to a port of the pod. That the port refuses is told by
// [Forward.Failure], after the data has ended.
func (p *Pod) Forward(ctx context.Context, port int32) (_ *Forward, err error) {
	reply, err := p.node.Runtime.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: p.ID, Port: []int32{port}})
	if err != nil {
		return nil, err
	}
	transport, err := p.node.spdy()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, reply.Url, http.NoBody)
	if err != nil {
		return nil, err
	}
	f := &Forward{}
	f.conn, _, err = spdy.NegotiateStreaming(spdy.NewUpgraderForStreaming(transport),
		&http.Client{Transport: transport}, request, forwardProtocol)
	if err != nil {
		return nil, fmt.Errorf("port-forward to pod %s: %w", p.Config.Metadata.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.conn.Close())
		}
	}()
	headers := http.Header{}
	headers.Set(headerPort, strconv.Itoa(int(port)))
	headers.Set(headerRequest, "0")
	headers.Set(headerStream, "error")
	if f.fail, err = f.conn.CreateStream(headers); err != nil {
		return nil, err
	}
	// Nothing is ever written to it.
	if err := f.fail.Close(); err != nil {
		return nil, err
	}
	headers.Set(headerStream, "data")
	f.data, err = f.conn.CreateStream(headers)
	return f, err
}

// Read reads what the pod sends.
func (f *Forward) Read(b []byte) (int, error) { return f.data.Read(b) }

// Write sends to the pod.
func (f *Forward) Write(b []byte) (int, error) { return f.data.Write(b) }

// CloseWrite tells the pod that nothing more is sent.
func (f *Forward) CloseWrite() error { return f.data.Close() }

// Failure waits for the end of the forwarding and returns why it failed, or "".
func (f *Forward) Failure() (string, error) {
	text, err := io.ReadAll(f.fail)
	return string(text), err
}

// Close ends the connection.
func (f *Forward) Close() error { return f.conn.Close() }
