package main

// The columns: who is measured.
const (
	auto      = "runsc_auto"
	cli       = "runsc_cli"
	runc      = "runc"
	bareRunsc = "bare_runsc"
	bareRunc  = "bare_runc"
)

func columns() []string { return []string{auto, cli, runc, bareRunsc, bareRunc} }

// The names of the measures.
const (
	execCycle    = "exec.cycle"
	execAdd      = "exec.add"
	execStart    = "exec.start"
	execExit     = "exec.exit"
	execDelete   = "exec.delete"
	execBurst    = "exec.burst"
	queryState   = "state"
	queryStats   = "stats"
	queryPids    = "pids"
	killCall     = "kill.call"
	killExit     = "kill.exit"
	idleCPU      = "idle.cpu"
	podProcesses = "pod.processes"
	podPSS       = "pod.pss"
	onePSS       = "container.pss"
	growthPSS    = "growth.pss"
	outputCPU    = "output.cpu"
	outputRate   = "output.rate"
	binarySize   = "binary.size"
	versionTime  = "version.time"
)

// callTime is how long a verb takes for a kind of container; beyondTime is how much of
// that a bare command does not take, and ownTime what the command in the call itself does
// not take.
func callTime(kind, verb string) string   { return kind + "." + verb + ".call" }
func beyondTime(kind, verb string) string { return kind + "." + verb + ".beyond" }
func ownTime(kind, verb string) string    { return kind + "." + verb + ".own" }

// bound says what is expected of the column auto.
type bound struct {
	limit float64
	// least makes the limit one from below.
	least bool
	// times is the column of which the limit is a multiple; if it is empty, the limit is
	// a value.
	times string
}

// How a value has to stand to a limit.
const (
	atMostRelation  = "at most"
	atLeastRelation = "at least"
)

func (b bound) relation() string {
	if b.least {
		return atLeastRelation
	}
	return atMostRelation
}

// measure is a row of the result.
type measure struct {
	name, title, unit string
	bound             *bound
}

func atMost(limit float64, times string) *bound { return &bound{limit: limit, times: times} }
func atLeast(limit float64, times string) *bound {
	return &bound{limit: limit, times: times, least: true}
}

// measures returns the rows in their order.
func measures() []measure {
	list := []measure{
		{execCycle, "exec, start, exit, delete of /bin/true", "ms", atMost(0.5, runc)},
		{execStart, "exec: the start alone", "ms", atMost(0.25, runc)},
		{execBurst, "20 execs at once, all", "ms", atMost(0.5, runc)},
		{queryState, "state", "ms", atMost(1, runc)},
		{queryStats, "stats", "ms", atMost(1, runc)},
		{queryPids, "pids", "ms", atMost(1, runc)},
		{killCall, "kill of a subcontainer", "ms", atMost(1, runc)},
		{killExit, "kill of a subcontainer to its exit", "ms", atMost(1, runc)},
	}
	for _, verb := range verbs() {
		list = append(list, measure{beyondTime("root", verb), verb + " beyond the bare command", "ms", atMost(1, runc)})
	}
	list = append(list,
		measure{idleCPU, "idle pod: CPU of the shim in a minute", "ms", atMost(2, "")},
		measure{podProcesses, "pod of 1+5 with 5 execs: processes", "", atMost(1, "")},
		measure{podPSS, "pod of 1+5 with 5 execs: PSS", "MiB", atMost(1, runc)},
		measure{growthPSS, "PSS of each container from 1 to 50", "KiB", atMost(60, "")},
		measure{outputCPU, "1 GiB of output: CPU, % of the sandbox's", "%", atMost(1, "")},
		measure{outputRate, "1 GiB of output: throughput", "MiB/s", atLeast(0.95, bareRunsc)},
		measure{binarySize, "size of the binary", "MB", atMost(15, "")},
		measure{versionTime, "-v", "ms", atMost(1.2, runc)},
		measure{onePSS, "one container: PSS", "MiB", atMost(1.2, runc)},
	)
	// What follows has no bound and tells where the time goes.
	list = append(list,
		measure{execAdd, "exec: the add alone", "ms", nil},
		measure{execExit, "exec: from the start to the exit", "ms", nil},
		measure{execDelete, "exec: the delete alone", "ms", nil},
	)
	for _, verb := range verbs() {
		list = append(list, measure{ownTime("root", verb), verb + " beyond the command in it", "ms", nil})
	}
	for _, verb := range verbs() {
		list = append(list, measure{callTime("root", verb), verb, "ms", nil})
	}
	for _, verb := range verbs() {
		list = append(list, measure{beyondTime("member", verb), verb + " in a pod beyond the bare command", "ms", nil})
	}
	for _, verb := range verbs() {
		list = append(list, measure{ownTime("member", verb), verb + " in a pod beyond the command in it", "ms", nil})
	}
	for _, verb := range verbs() {
		list = append(list, measure{callTime("member", verb), verb + " in a pod", "ms", nil})
	}
	return list
}

// verbs are the parts of a container's life that are compared with bare commands.
func verbs() []string { return []string{"create", "start", "delete"} }
