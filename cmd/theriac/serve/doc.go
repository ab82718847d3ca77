// Package serve runs one node as a server: it opens the four ports, starts the node on them, and
// stops all in order. It owns listeners and nothing else.
//
// # Invariants
//
//  1. The ready line is printed once, after the node serves on every port.
//  2. When Run returns every listener is closed and every goroutine has ended.
//  3. After a failure of the disk the process ends with an error: a supervisor restarts it, and the
//     start checks what is there.
package serve
