package options

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// text sets a string option that check accepts.
func text(field func(*Options) *string, check func(string) error) setter {
	return func(o *Options, value any) error {
		s, ok := value.(string)
		if !ok {
			return wrongType("a string", value)
		}
		if err := check(s); err != nil {
			return err
		}
		*field(o) = s
		return nil
	}
}

// id sets a user or group id.
func id(field func(*Options) *uint32) setter {
	const want = "a whole number from 0 to 4294967295"
	return func(o *Options, value any) error {
		n, ok := value.(int64)
		if !ok {
			return wrongType(want, value)
		}
		if n < 0 || n > math.MaxUint32 {
			return fmt.Errorf("want %s, have %d", want, n)
		}
		*field(o) = uint32(n)
		return nil
	}
}

func setLogLevel(o *Options, value any) error {
	levels := []string{"trace", "debug", "info", "warn", "warning", "error"}
	want := "one of " + strings.Join(levels, ", ")
	s, ok := value.(string)
	if !ok {
		return wrongType(want, value)
	}
	level := strings.ToLower(s)
	if level != "" && !slices.Contains(levels, level) {
		return fmt.Errorf("want %s, have %q", want, s)
	}
	o.LogLevel = level
	return nil
}

// boolean sets an option that is on or off.
func boolean(field func(*Options) *bool) setter {
	return func(o *Options, value any) error {
		b, ok := value.(bool)
		if !ok {
			return wrongType("true or false", value)
		}
		*field(o) = b
		return nil
	}
}

func setControl(o *Options, value any) error {
	want := fmt.Sprintf("%q or %q", ControlAuto, ControlCLI)
	s, ok := value.(string)
	if !ok {
		return wrongType(want, value)
	}
	switch c := Control(s); c {
	case ControlAuto, ControlCLI:
		o.Control = c
		return nil
	default:
		return fmt.Errorf("want %s, have %q", want, s)
	}
}

func checkHibernate(_ *Options, value any) error {
	on, ok := value.(bool)
	if !ok {
		return wrongType("true or false", value)
	}
	if on {
		return errors.New("hibernation is not supported; set it to false or leave it out")
	}
	return nil
}

func checkBinary(s string) error {
	if s == "" {
		return errors.New("want a name to look up in PATH or an absolute path, have nothing")
	}
	if strings.Contains(s, "/") && !filepath.IsAbs(s) {
		return fmt.Errorf("want a name to look up in PATH or an absolute path, have the relative path %q", s)
	}
	return checkText(s)
}

func checkAbsolute(s string) error {
	if !filepath.IsAbs(s) {
		return fmt.Errorf("want an absolute path, have %q", s)
	}
	return checkText(s)
}

func checkAbsoluteOrEmpty(s string) error {
	if s == "" {
		return nil
	}
	return checkAbsolute(s)
}

// checkText refuses what can be in no path and no argument of a command on
// purpose: a NUL cannot be passed at all, a line break breaks logs.
func checkText(s string) error {
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return fmt.Errorf("%q has a control character at byte %d", s, i)
	}
	return nil
}

func wrongType(want string, value any) error {
	return fmt.Errorf("want %s, have %s", want, describe(value))
}

// describe names a value of the TOML decoder for people.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the string %q", v)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	default:
		return "a date"
	}
}
