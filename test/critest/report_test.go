package critest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// result is how a test of the suite has ended.
type result struct {
	name    string
	state   string // ginkgo's: passed, failed, skipped, panicked ...
	message string // why it did not pass
	output  string // what the test has told on its way
	seconds float64
}

func (r result) passed() bool { return r.state == "passed" }

// readReport reads the results from a report that ginkgo has written.
func readReport(path string) ([]result, error) {
	// The parts of ginkgo's types.Report that are needed.
	var suites []struct {
		// SpecialSuiteFailureReasons are those of no test, such as the end of its time.
		SpecialSuiteFailureReasons []string
		SpecReports                []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			RunTime                 float64 // nanoseconds
			Failure                 struct {
				Message  string
				Location struct {
					FileName   string
					LineNumber int
				}
			}
			CapturedGinkgoWriterOutput string
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &suites); err != nil {
		return nil, fmt.Errorf("read the report %s: %w", path, err)
	}
	var list []result
	for _, suite := range suites {
		// Without it the tests that did not run would look like a suite that has lost them.
		if reasons := suite.SpecialSuiteFailureReasons; len(reasons) > 0 {
			list = append(list, result{name: "the suite itself", state: "failed", message: strings.Join(reasons, "\n")})
		}
		for _, spec := range suite.SpecReports {
			f := spec.Failure
			// What was not asked for, such as benchmarks, is skipped without a word.
			if spec.LeafNodeType != "It" || (spec.State == "skipped" && f.Message == "") {
				continue
			}
			r := result{
				name:    strings.Join(append(spec.ContainerHierarchyTexts, spec.LeafNodeText), " "),
				state:   spec.State,
				seconds: spec.RunTime / 1e9,
				output:  spec.CapturedGinkgoWriterOutput,
			}
			if f.Message != "" {
				r.message = fmt.Sprintf("%s\n(%s:%d)", f.Message, f.Location.FileName, f.Location.LineNumber)
			}
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b result) int { return strings.Compare(a.name, b.name) })
	return list, nil
}
