// Package model runs random programs of API calls against the shim and against a model of
// contract.md, and compares what comes of them.
//
// A Program is a list of steps, each of one call or of several at the same moment, on up to
// five tasks: two alone, whose ids begin alike, and a pod of three. It comes from a seed
// (Generate) or from a text (Parse). The World is what the contract says that there is; its
// Do tells which answers are allowed for a call, and what the world is after each. A runner
// makes the calls of a step, looks for an order of them that explains the answers (explain),
// waits until what must end has ended, and compares: the state of every process, what was
// written, what those who wait are told, and in the end the events and what is left. A call
// about which the contract says nothing is left out, so that a program can be cut anywhere.
//
// A program that fails is made smaller (Shrink) and printed as a text, which belongs in
// testdata, where each is run by TestModel_Replay. The seed that is printed makes the same
// program again. The environment says how much is run:
//
//	MODEL_SEED        the seed of the first program; the next has the next one
//	MODEL_STEPS_FAKE  how many calls are made on the scripted runsc
//	MODEL_STEPS_REAL  and on gVisor's
//	MODEL_LOGS        anything: print the shims' logs of the smallest program
//
// The processes run a puppet, which does what it is told over its stdin and says when it is
// done. So the model knows what is written and when a process ends, and no test sleeps.
//
// TestModel_FindsLies shows that the suite can fail: an answer, a state, or an event is made
// false on its way, and must be found, in a program of a few calls.
//
// # The rules
//
//	P1   fits, sameState: ids in State; execs of one id in several tasks; prefixes
//	P2   Phase; every refusal of start, delete, pause and resume
//	P3   sameState, sameExit: 255 and no time before the end, one status and time after.
//	     That State asks nobody is for the contract suite: it cannot be seen from outside.
//	P4   pidOf
//	P5   start, started
//	P6   failed, startInit; the streams of a failed exec in sameOutput
//	P7   kill, killCreated; no exit in the events
//	P8   signal, hit: by what the puppet says or ends with. One that goes by itself while it
//	     is signalled is in steps of several calls.
//	P9   kill
//	P10  resize; the size is asked of the puppet
//	P11  closeIO, Detach
//	P12  waiter, answered; GiveUp; a wait for what is deleted
//	P13  Murder, in part. A runsc that hangs is for the contract suite.
//	P14  delete, deleteTask. How long it takes is for the contract suite.
//	P15  sameOutput, to the byte, after each step and at the end of the process
//	P16  Ends, sameExit
//	P17  not here: what is in the record is not of the API
//	T1   create: known ids, bad ids, no bundle, a member without its pod; R6 in the end
//	T2   exec; two at once
//	T3   Do; look
//	T4   kill, signal. That execs come first shows in their status, where they are in time.
//	T5   deleteTask
//	T6   pids, sameList: with processes that nobody asked for (Forks)
//	T7   stats: that there are any. Their type and values are for the contract suite.
//	T8   pause, resume, thaw
//	T9   update: that it succeeds. What it does is for the contract suite.
//	T10  checkpoint: that it is not implemented
//	T11  end, settle, inOrder
//	T12  shutdown
//	T13  not here: nothing is slow
//	E1   publish, compareEvents
//	E2   inOrder. OOM is for the contract suite.
//	E3   settle: only what ran
//	E4   Sink
//	R1   prepare: a pod's container joins its shim. What start prints is for the contract suite.
//	R2   not here, nor R3: they are commands
//	R4   Murder
//	R5   Reconnect, Sink
//	R6   finish, and the harness after each program
//
// Where the contract is silent, the model holds the shim to what it does on purpose: a paused
// sandbox takes SIGKILL alone, and is resumed for it unless it is that of the root, which is
// killed with it (P8); an exec that was never started stays created when init ends; the exit
// of what never ran and is deleted is 137. It allows both where two answers are as good: for
// an exec id that is known in a task that does not run, either error (T2); and a container
// that ends as it is resumed may do so before it is reported as resumed (E1).
//
// The files:
//
//   - program.go: calls, and their text; generate.go, atonce.go: making programs up;
//   - world.go, events.go: the world; rules*.go: what is allowed;
//   - explain.go: the orders of calls at one moment;
//   - run.go, perform.go, settle.go, observe.go, compare.go: running a program;
//   - shrink.go: making it smaller;
//   - puppet: what the processes run.
package model
