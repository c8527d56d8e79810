// Package task is containerd's task service over proc's containers.
//
// Service holds the tasks of the shim and does what a verb means for more than
// one of them: reserving an id, pausing the other containers of a sandbox, adding
// up a pod's resources. api.go is containerd's task API over it, in both versions;
// wire types and error codes end there and in wire.go.
//
// Lock order: Service.mu guards the map of tasks and is never held across a call
// to a container.
package task
