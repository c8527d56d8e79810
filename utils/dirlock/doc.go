// Package dirlock locks directories between processes (flock), for a bounded time: who
// holds a lock may be stopped, and waits for it must end and say for whom they were.
package dirlock
