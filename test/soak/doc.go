// Package soak has the test that lets everything happen for a long time: pods, execs and
// logs at full speed on a private node (package test/node), while its containerd ends and
// begins again and again.
//
// # What happens
//
// Pods come and go, with containers that write, end, crash, are killed, use too much memory,
// and whose sandbox dies. Three sandboxes live all the time, two pods of the CRI and one
// container that containerd's own API made; they get execs of all kinds, probes that time
// out, clients that attach and leave, statistics, pids, pauses and updates. Every 15 seconds
// or so containerd ends, by SIGTERM and SIGKILL in turn, in the middle of all that; while it
// is away, containers and execs end, and a sandbox is killed.
//
// # What is checked
//
//   - Contract R5, P16: every exit status that is known in advance is there, also of what
//     ended while containerd was away; each of these ends is on disk before it is back (P17).
//   - R5, P15: no line is lost or doubled. Writers number their lines. What goes to a FIFO
//     that the test reads is complete, without exception. A log file of the CRI is written by
//     containerd: what that has read and not written when it is killed is lost, so there, and
//     nowhere else, lines may lack: at the very moment of a restart, and no more than its
//     buffers hold.
//   - R6: at two quiet moments, after the first minute and at the end, the shims that live all
//     the time have the same descriptors, goroutines, threads and children, and their memory
//     is the same but for a tolerance; the node has the same processes, mounts, sockets,
//     cgroups and files. A table of it is printed.
//   - R6: a pod that is removed leaves nothing, and after all nothing is left of the node.
//   - A call that is answered with an error though containerd was there all the while is a
//     failure, and so is one that takes longer than callTime.
//
// containerd itself forgets things when it is killed in the middle of them: a status that it
// was told and had not written down (its own log proves it), a bundle that it was removing,
// the network namespace of a pod that it was making, and a snapshot that it was making, whose
// folder makes every later one fail. These are recognized one by one, in the functions
// wasTold, halfRemoved, forgotten and makesWay, counted in the table, and nothing else is
// excused. A pod that is paused is ended by containerd's CRI plugin when that begins, so it is
// the container without a pod that is paused across a restart.
//
// What the client does not learn because containerd ended in the middle of its call is asked
// for again, if it can be; else it counts as lost in the table, and is removed.
//
// # What there is to set
//
//   - SHIM_TEST_BIN: the directory with the programs, see package test/node;
//   - SOAK: how long it takes, a duration such as 2m; 10m without it;
//   - SOAK_ERA: how long containerd lives, give or take a third; 9s without it;
//   - SOAK_SEED: the random seed; each run prints its own;
//   - SHIM_TEST_CONTROL: "cli" has the shim drive its sandboxes by runsc's commands alone;
//   - KEEP_LOG: keep the logs of containerd and of the shims.
//
// # The files
//
//   - soak_test.go: the course of it all; world_test.go: what all share;
//   - eras_test.go: when containerd is there; away_test.go: what happens while it is not;
//   - lived_test.go: the sandboxes that live all the time; load_test.go: what is done to them;
//   - visitors_test.go: the pods that come and go, visits_test.go: what happens to them;
//   - guest_test.go: the containers of the CRI that come and go;
//   - job_test.go: execs through containerd's API; plain_test.go: the container of that API;
//   - snapshots_test.go: what makes way for snapshots;
//   - lines_test.go: numbered lines; measure_test.go: what the shims hold, and the table.
package soak
