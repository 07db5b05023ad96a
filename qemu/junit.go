package qemu

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr,omitempty"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes junit.xml: a suite for each target, in which the guest
// itself is a case too, so that a run without a failed test can fail.
func writeJUnit(dir string, results []*Result) error {
	var doc junitSuites
	for _, r := range results {
		guest := junitCase{Class: r.Target.Title(), Name: "guest", Time: seconds(r.Wall.Seconds())}
		s := junitSuite{Name: r.Target.Title(), Tests: len(r.Tests) + 1, Skipped: r.Count(Skip), Time: guest.Time}
		if len(r.Problems) > 0 {
			guest.Failure = &junitMessage{
				Message: r.Problems[0],
				Text:    strings.Join(append(r.Problems, r.Console...), "\n"),
			}
			s.Failures++
		}
		switch m := (&junitMessage{Message: "no kernel: " + r.NoKernel}); {
		case r.Excused:
			guest.Skipped = m
			s.Skipped++
		case r.NoKernel != "":
			guest.Error = m
			s.Errors++
		}
		s.Cases = append(s.Cases, guest)
		for _, t := range r.Tests {
			c := junitCase{Class: r.Target.Title() + "." + t.Binary, Name: t.Name, Time: seconds(t.Elapsed.Seconds())}
			switch t.Outcome {
			case Fail, Unfinished:
				c.Failure = &junitMessage{outcomeText[t.Outcome], strings.Join(t.Output, "\n")}
				s.Failures++
			case Skip:
				c.Skipped = &junitMessage{Message: t.Reason()}
			}
			s.Cases = append(s.Cases, c)
		}
		doc.Suites = append(doc.Suites, s)
	}
	b, err := xml.MarshalIndent(doc, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "junit.xml"), append([]byte(xml.Header), append(b, '\n')...), 0o644)
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
