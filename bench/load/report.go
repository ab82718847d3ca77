package load

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report is what a run measured.
type Report struct {
	Config  Config
	Elapsed time.Duration
	Kinds   [kinds]KindReport // by Kind
	First   error             // of all that failed; nil: none did
}

// KindReport is what a run measured of one operation.
type KindReport struct {
	Latency Histogram // of those that were done
	Failed  uint64
}

func (r *Report) fail(k Kind, err error) {
	r.Kinds[k].Failed++
	if r.First == nil {
		r.First = err
	}
}

func (r *Report) merge(o *Report) {
	for k := range r.Kinds {
		r.Kinds[k].Latency.Merge(&o.Kinds[k].Latency)
		r.Kinds[k].Failed += o.Kinds[k].Failed
	}
	if r.First == nil {
		r.First = o.First
	}
}

// Done is the number of operations that succeeded.
func (r *Report) Done() uint64 {
	n := uint64(0)
	for k := range r.Kinds {
		n += r.Kinds[k].Latency.Count()
	}
	return n
}

// Failed is the number of operations that failed.
func (r *Report) Failed() uint64 {
	n := uint64(0)
	for k := range r.Kinds {
		n += r.Kinds[k].Failed
	}
	return n
}

// Rate is the number of operations that succeeded, a second.
func (r *Report) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Done()) / r.Elapsed.Seconds()
}

// Latency is the histogram of all operations together.
func (r *Report) Latency() *Histogram {
	h := new(Histogram)
	for k := range r.Kinds {
		h.Merge(&r.Kinds[k].Latency)
	}
	return h
}

// row is one line of a report, for people and for JSON.
type row struct {
	Operation string  `json:"operation"`
	Done      uint64  `json:"done"`
	Failed    uint64  `json:"failed"`
	PerSecond float64 `json:"per_second"`
	Mean      float64 `json:"mean_us"`
	P50       float64 `json:"p50_us"`
	P90       float64 `json:"p90_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	Max       float64 `json:"max_us"`
}

func (r *Report) row(name string, h *Histogram, failed uint64) row {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	rate := 0.0
	if r.Elapsed > 0 {
		rate = float64(h.Count()) / r.Elapsed.Seconds()
	}
	return row{
		Operation: name, Done: h.Count(), Failed: failed, PerSecond: rate, Mean: us(h.Mean()),
		P50: us(h.Quantile(0.5)), P90: us(h.Quantile(0.9)), P99: us(h.Quantile(0.99)), P999: us(h.Quantile(0.999)), Max: us(h.Max()),
	}
}

// rows has a line for each operation of the mix and, when there are several, one for all.
func (r *Report) rows() []row {
	var rows []row
	for k := range r.Kinds {
		if r.Config.Mix[k] > 0 {
			rows = append(rows, r.row(Kind(k).String(), &r.Kinds[k].Latency, r.Kinds[k].Failed))
		}
	}
	if len(rows) != 1 {
		rows = append(rows, r.row("all", r.Latency(), r.Failed()))
	}
	return rows
}

// WriteTo writes the report as a table.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	t := tabwriter.NewWriter(counted, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "operation\tper second\tfailed\tmean\tp50\tp90\tp99\tp99.9\tmax\t\n")
	for _, x := range r.rows() {
		fmt.Fprintf(t, "%s\t%.0f\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", x.Operation, x.PerSecond, x.Failed,
			short(x.Mean), short(x.P50), short(x.P90), short(x.P99), short(x.P999), short(x.Max))
	}
	err := t.Flush()
	if err == nil && r.First != nil {
		_, err = fmt.Fprintf(counted, "first failure: %v\n", r.First)
	}
	return counted.n, err
}

// short prints microseconds with three digits or so.
func short(us float64) string {
	switch {
	case us < 100:
		return fmt.Sprintf("%.1fus", us)
	case us < 1e5:
		return fmt.Sprintf("%.2fms", us/1e3)
	}
	return fmt.Sprintf("%.2fs", us/1e6)
}

// MarshalJSON gives the workload's main settings and a line for each operation; latencies are in
// microseconds.
func (r *Report) MarshalJSON() ([]byte, error) {
	first := ""
	if r.First != nil {
		first = r.First.Error()
	}
	return json.Marshal(struct {
		Mix         string  `json:"mix"`
		Concurrency int     `json:"concurrency"`
		Rate        float64 `json:"rate"`
		Seconds     float64 `json:"seconds"`
		Rows        []row   `json:"rows"`
		First       string  `json:"first_failure,omitempty"`
	}{r.Config.Mix.String(), r.Config.Concurrency, r.Config.Rate, r.Elapsed.Seconds(), r.rows(), first})
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
