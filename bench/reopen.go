package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// reopen: a region of many keys, killed with kill -9 and started again.
func reopen(ctx context.Context, e *Env) (figures []Figure, err error) {
	var times []float64
	config := RegionConfig{Name: "eu", Dir: e.Dir + "/ours"}
	p, err := startRegion(ctx, e, config, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	if _, err := p.ask(request{Do: "fill", Keys: e.Many}, 10*time.Minute); err != nil {
		return nil, err
	}
	for range e.Rounds {
		// Some writes each time, so that there is a log to replay.
		if _, err := p.ask(request{Do: "add", Keys: e.Many, Goroutines: 64, Count: int64(e.Many / 10), Applied: true}, time.Minute); err != nil {
			return nil, err
		}
		if err := p.kill(); err != nil {
			return nil, err
		}
		begun := time.Now()
		next, err := startRegion(ctx, e, config, "")
		if err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun).Seconds())
		p = next
	}
	f := alone(fmt.Sprintf("reopening a store of %s keys after kill -9", number(float64(e.Many))), "s", median(times), atMostOurs(2),
		"from the start of the process until it serves")
	f.Rounds = len(times)
	return []Figure{f}, nil
}
