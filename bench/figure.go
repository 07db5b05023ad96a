package main

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// A figure is what was measured for a goal: a series for each way, with a point for each of
// what varies, and in that what each round gave.
type figure struct {
	Rounds int
	Xs     []string // what varies, such as goroutines: one empty where nothing does
	Series []*series
}

// A series is one way's.
type series struct {
	Way    string
	Points []point // for each of Xs
}

// A point is what the rounds gave. Each quantity has a list, with a value of each round.
type point map[string][]float64

// add notes what a round gave.
func (f *figure) add(way, x, quantity string, value float64) {
	i := slices.Index(f.Xs, x)
	if i < 0 {
		i = len(f.Xs)
		f.Xs = append(f.Xs, x)
	}
	s := f.of(way)
	if s == nil {
		s = &series{Way: way}
		f.Series = append(f.Series, s)
	}
	for len(s.Points) <= i {
		s.Points = append(s.Points, point{})
	}
	s.Points[i][quantity] = append(s.Points[i][quantity], rounded(value))
}

// rounded has four digits: more say nothing, and make the file long.
func rounded(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func (f *figure) of(way string) *series {
	if i := slices.IndexFunc(f.Series, func(s *series) bool { return s.Way == way }); i >= 0 {
		return f.Series[i]
	}
	return nil
}

// at is what the rounds gave of a quantity.
func (f *figure) at(way string, x int, quantity string) []float64 {
	s := f.of(way)
	if s == nil || x >= len(s.Points) {
		return nil
	}
	return s.Points[x][quantity]
}

// ratios are a way's values to another's in the same round.
func (f *figure) ratios(way, base string, x int, quantity string) (list []float64) {
	a, b := f.at(way, x, quantity), f.at(base, x, quantity)
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			list = append(list, a[i]/b[i])
		}
	}
	return list
}

// summary is the median with its confidence interval of 95 %.
func summary(values []float64) benchmath.Summary {
	sample := benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
	return benchmath.AssumeNothing.Summary(sample, 0.95)
}

// quantile is a value's place in an ascending list.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
