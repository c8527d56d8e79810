// Package reaper collects the exits of this process's children and hands each
// to the one who asked for it.
//
// The shim is a subreaper: beside the commands it starts it inherits sandboxes
// and gofers, whose parent (a runsc command) is gone. Somebody has to reap
// those, and whoever does so with wait4(-1) also reaps the commands. So there
// is one reaper, and everything that needs an exit asks it:
//
//   - a command is started with Start (or StartLocked), which makes the Reaper
//     a go-runc ProcessMonitor;
//   - an inherited process is watched through a Hold that is taken before the
//     process can exist, so that an exit that comes before the Watch is kept.
//
// Exits that nobody holds or watches are dropped at once, so no exit outlives
// its process id and none is ever given to a later process of the same id.
//
// Lock order: Reaper.mu is a leaf. It is held for map operations only.
package reaper
