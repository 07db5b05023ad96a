package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// writeReport makes the plots, and the page beside their directory.
func writeReport(dir string, all *results) error {
	var b strings.Builder
	b.WriteString(`# Performance

` + "`make bench`" + ` makes this page and its plots from what it measures, which is in
[results.json](bench/results.json). All ways are measured in one run and take turns, round by round. A
number is the median of the rounds; ± is half of its confidence interval of 95 %, where that is above 1 %.

`)
	for _, name := range slices.Sorted(maps.Keys(all.Machine)) {
		fmt.Fprintf(&b, "- %s: %s\n", name, all.Machine[name])
	}
	for _, m := range all.Missing {
		fmt.Fprintf(&b, "- %s\n", strings.TrimSpace(m))
	}
	for _, g := range goals {
		f := all.Figures[g.name]
		if f == nil {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\nThe goal: %s.\n", strings.ToUpper(g.title[:1])+g.title[1:], g.text, g.aim)
		for _, q := range g.quantities {
			b.WriteString("\n" + table(f, g, q))
		}
		if err := draw(filepath.Join(dir, g.name+".svg"), f, g, g.quantities[0]); err != nil {
			return fmt.Errorf("plot %s: %w", g.name, err)
		}
		fmt.Fprintf(&b, "\n![%s](bench/%s.svg)\n", g.title, g.name)
	}
	return os.WriteFile(filepath.Join(filepath.Dir(filepath.Clean(dir)), "performance.md"), []byte(b.String()), 0o666)
}

// table is a quantity's, with a row for each way.
func table(f *figure, g goal, q quantity) string {
	var b strings.Builder
	what := q.name + ", " + q.unit
	if q.ratioTo != "" {
		what = q.name + ", ratio to " + q.ratioTo
	}
	head := []string{what}
	for _, x := range f.Xs {
		if x == "" {
			x = " "
		}
		head = append(head, strings.TrimSpace(x+" "+g.x))
	}
	if q.flat {
		head = append(head, "last to first")
	}
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, s := range f.Series {
		cells := []string{s.Way}
		for x := range f.Xs {
			cells = append(cells, cell(f.shown(s.Way, x, q)))
		}
		if q.flat {
			first, last := f.at(s.Way, 0, q.name), f.at(s.Way, len(f.Xs)-1, q.name)
			if len(first) > 0 && len(last) > 0 {
				cells = append(cells, fmt.Sprintf("%.2f", summary(last).Center/summary(first).Center))
			}
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

// shown are the values of a quantity.
func (f *figure) shown(way string, x int, q quantity) []float64 {
	if q.ratioTo != "" {
		return f.ratios(way, q.ratioTo, x, q.name)
	}
	return f.at(way, x, q.name)
}

func cell(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	s := summary(values)
	text := number(s.Center)
	if len(values) < 2 { // a median of one says nothing of its error
		return text
	}
	if half := (s.Hi - s.Lo) / 2; half > s.Center/100 && !math.IsInf(half, 0) {
		text += " ± " + number(half)
	}
	return text
}

func number(v float64) string {
	switch {
	case math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// draw plots a quantity: bars where nothing varies, else a line for each way.
func draw(file string, f *figure, g goal, q quantity) error {
	p := plot.New()
	p.Title.Text = g.title
	p.Y.Label.Text = strings.TrimSpace(q.name + " " + q.unit)
	p.Y.Min = 0
	names := make([]string, len(f.Xs))
	copy(names, f.Xs)
	p.X.Label.Text = g.x
	if len(f.Xs) == 1 {
		values := plotter.Values{}
		names = names[:0]
		for _, s := range f.Series {
			values = append(values, summary(f.shown(s.Way, 0, q)).Center)
			names = append(names, s.Way)
		}
		bars, err := plotter.NewBarChart(values, vg.Points(24))
		if err != nil {
			return err
		}
		bars.Color = plotutil.Color(0)
		p.Add(bars)
		p.X.Tick.Label.Rotation = math.Pi / 5
		p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = -1, -0.5
	} else {
		var lines []any
		for _, s := range f.Series {
			points := plotter.XYs{}
			for x := range f.Xs {
				if v := f.shown(s.Way, x, q); len(v) > 0 {
					points = append(points, plotter.XY{X: float64(x), Y: summary(v).Center})
				}
			}
			lines = append(lines, s.Way, points)
		}
		if err := plotutil.AddLinePoints(p, lines...); err != nil {
			return err
		}
		p.Legend.Top = true
		p.Y.Max *= 1.4 // room for the legend
	}
	p.Add(plotter.NewGrid())
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	return p.Save(18*vg.Centimeter, 10*vg.Centimeter, file)
}
