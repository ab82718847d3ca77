package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// duration tells nanoseconds with three digits and a unit: "1.24 ms".
func duration(ns int64) string {
	switch d := float64(ns); {
	case ns < 0:
		return "never"
	case d < 1e3:
		return fmt.Sprintf("%d ns", ns)
	case d < 999.5e3:
		return digits(d/1e3) + " µs"
	case d < 999.5e6:
		return digits(d/1e6) + " ms"
	case d < 600e9:
		return digits(d/1e9) + " s"
	}
	return time.Duration(ns).Round(time.Second).String()
}

// moment tells a time of the run: "12.345 s".
func moment(ns int64) string { return strconv.FormatFloat(float64(ns)/1e9, 'f', 3, 64) + " s" }

// digits keeps three of them.
func digits(f float64) string {
	switch {
	case f >= 99.95:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 9.995:
		return trimmed(strconv.FormatFloat(f, 'f', 1, 64))
	}
	return trimmed(strconv.FormatFloat(f, 'f', 2, 64))
}

func trimmed(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// count tells a number with commas between the thousands.
func count(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// perSecond tells a rate.
func perSecond(rate float64) string {
	if rate >= 100 {
		return count(int(math.Round(rate))) + "/s"
	}
	return digits(rate) + "/s"
}

// percent of n in all.
func percent(n, all int) string {
	if all == 0 || n == 0 {
		return "0%"
	}
	return digits(100*float64(n)/float64(all)) + "%"
}

// plural is "1 fault", "2 faults".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// num is a coordinate: a tenth of a pixel is enough.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// short cuts a text to n characters.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// squeezed cuts a text to n characters in its middle: the end holds the value.
func squeezed(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	head := (n - 1) * 2 / 5
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}
