// Package selfexe opens the process's own program for somebody who is not trusted with it.
package selfexe
