//go:build !unix

package sim

import "time"

var processBegan = time.Now()

// cpuTime is the time that has passed, where nobody says how long processors have worked.
func cpuTime() time.Duration { return time.Since(processBegan) }
