package options

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// systemdCgroupKey is runsc's flag that SystemdCgroup stands for.
const systemdCgroupKey = "systemd-cgroup"

// setRunscConfig reads the table of runsc's flags.
func setRunscConfig(o *Options, value any) error {
	table, ok := value.(map[string]any)
	if !ok {
		return wrongType("a table of runsc's flags", value)
	}
	flags := make(map[string]string, len(table))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if err := checkFlag(key); err != nil {
			return fmt.Errorf("flag %q: %w", key, err)
		}
		s, err := flagText(table[key])
		if err != nil {
			return fmt.Errorf("flag %q: %w", key, err)
		}
		if key == systemdCgroupKey {
			on, err := strconv.ParseBool(s)
			if err != nil {
				return fmt.Errorf("flag %q: want true or false, have %q", key, s)
			}
			o.SystemdCgroup = on
			continue
		}
		flags[key] = s
	}
	if len(flags) > 0 {
		o.RunscConfig = flags
	}
	return nil
}

// checkFlag refuses what is no name of a flag, and flags that are not the
// user's to set. Capitals are allowed: some of runsc's flags for tests have them.
func checkFlag(key string) error {
	if bare := strings.TrimLeft(key, "-"); bare != key {
		return fmt.Errorf("write it without the leading dashes: %q", bare)
	}
	if key == "" {
		return errors.New("want the name of a flag, have nothing")
	}
	for _, r := range key {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return fmt.Errorf("want letters, digits, - and _ only, have %q", r)
		}
	}
	switch key {
	case "root":
		return fmt.Errorf("the shim sets it; use the key root outside of [%s]", runscConfigKey)
	case "log", "log-format":
		return errors.New("the shim sets it to read runsc's errors; use the flag debug-log for a log of runsc, or the key log_path for a log of the shim")
	}
	if _, ours := setters()[key]; ours {
		return fmt.Errorf("no flag of runsc but a key of the shim: it belongs above [%s]", runscConfigKey)
	}
	return nil
}

// flagText turns the value of a flag into its text. Files in use hold numbers
// and booleans with and without quotes.
func flagText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, checkText(v)
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", fmt.Errorf("want a finite number, have %v", v)
		}
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	default:
		return "", wrongType("a string, boolean or number", value)
	}
}
