package contract

import (
	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// fail makes every command of a verb fail with a message.
func fail(verb, message string) script.Fault {
	return script.Fault{Verb: verb, Do: script.Fail, Message: message}
}

// hang makes the first command of a verb wait for a gate before it does anything.
func hang(verb string, gate *harness.Gate) script.Fault {
	return script.Fault{Verb: verb, Nth: 1, Do: script.Hang, Until: gate.Path}
}
