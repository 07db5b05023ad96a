package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

const pauseTime = 500 * time.Millisecond

// pauses measures what a ticker and the collector feel of starts at full speed.
func pauses(e *environment, f *figure) error {
	was := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(was)
	nothing := way{name: "nothing", once: func() error { time.Sleep(time.Millisecond); return nil }}
	for _, procs := range []int{1, 2} {
		runtime.GOMAXPROCS(procs)
		rounds := max(e.rounds/10, 5)
		for round := range rounds {
			for _, w := range append(e.compared(), nothing) {
				ticker, gc, err := felt(w)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				if err := e.ctx.Err(); err != nil {
					return err
				}
				f.add(w.name, fmt.Sprint(procs), "ticker", ticker.Seconds()*1e3)
				f.add(w.name, fmt.Sprint(procs), "GC", gc.Seconds()*1e3)
			}
			progress(fmt.Sprint("GOMAXPROCS ", procs), round+1, rounds)
		}
	}
	return nil
}

// felt is the longest delay of a ticker and the longest collection beside a way.
func felt(w way) (ticker, gc time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pauseTime)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil && err == nil {
			err = w.once()
		}
	})
	group.Go(func() {
		const every = time.Millisecond
		t := time.NewTicker(every)
		defer t.Stop()
		for last := time.Now(); ctx.Err() == nil; {
			<-t.C
			now := time.Now()
			ticker = max(ticker, now.Sub(last)-every)
			last = now
		}
	})
	for ctx.Err() == nil {
		begin := time.Now()
		runtime.GC()
		gc = max(gc, time.Since(begin))
		time.Sleep(10 * time.Millisecond)
	}
	group.Wait()
	return ticker, gc, err
}
