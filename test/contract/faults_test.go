package contract

import (
	"testing"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// fail makes every command or call of a verb fail with a message.
func fail(verb, message string) script.Fault {
	return script.Fault{Verb: verb, Do: script.Fail, Message: message}
}

// hang makes the first command or call of a verb wait for a gate before it does
// anything.
func hang(verb string, gate *harness.Gate) script.Fault {
	return script.Fault{Verb: verb, Nth: 1, Do: script.Hang, Until: gate.Path}
}

// way is how the shim asks a running sandbox; its value is the shim's option.
type way string

const (
	byCommand way = "cli"
	bySocket  way = "auto"
)

// use makes the shims of a test ask in this way, whichever the suite runs with.
func (w way) use(e *harness.Env) {
	e.Config += "control = \"" + string(w) + "\"\n"
}

// verb returns what the list of calls has for a verb of runsc.
func (w way) verb(verb string) string {
	method, ok := map[string]string{
		"exec": "ExecuteAsync", "wait": "Wait", "kill": "Signal", "ps": "Processes", "events": "Event",
		"pause": "Pause", "resume": "Resume",
	}[verb]
	if w == byCommand || !ok {
		return verb
	}
	return script.Sock(method)
}

// eachWay runs a test on the scripted runsc twice: with runsc's commands, and over the
// sandbox's control socket.
func eachWay(t *testing.T, f func(t *testing.T, e *harness.Env, w way)) {
	t.Helper()
	t.Parallel()
	for _, w := range []way{byCommand, bySocket} {
		t.Run(string(w), func(t *testing.T) {
			scripted(t, func(t *testing.T, e *harness.Env) {
				w.use(e)
				f(t, e, w)
			})
		})
	}
}

// commands runs a test on the scripted runsc with commands, about what can go wrong
// with those.
func commands(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	scripted(t, func(t *testing.T, e *harness.Env) {
		byCommand.use(e)
		f(t, e)
	})
}

// onSocket runs a test on the scripted runsc over the control socket, about what can
// go wrong with that.
func onSocket(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	scripted(t, func(t *testing.T, e *harness.Env) {
		bySocket.use(e)
		f(t, e)
	})
}
