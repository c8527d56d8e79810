package options

import "strings"

// closest returns the one of names that key was most likely meant to be, or
// nothing if none is near.
func closest(key string, names []string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		if plainName(key) == plainName(name) {
			return name
		}
		// A short name is near to everything within two edits.
		if d := distance(key, name); d < bestDistance && d*2 < len(name) {
			best, bestDistance = name, d
		}
	}
	return best
}

// plainName makes IoUid, io-uid and io_uid the same.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// distance is the number of bytes to insert, delete or replace to get from a to
// b; for strings too different in length to matter it is only a lower bound.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 3 || d < -3 {
		return max(d, -d)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
