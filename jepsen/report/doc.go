// Package report makes one HTML page of a history and of what checkers found in it.
//
// The page is a single file: styles, drawings and the little script for tooltips are in it, nothing is
// loaded, and its content security policy forbids that anything is. It reads without the script, too.
// It shows the verdict of each checker; every anomaly in words and as a drawing, in which the transactions
// stand on lanes over time with arrows for the order that the anomaly tells; the latency of each operation and the
// throughput over time with the periods of the faults; and tables of operations, faults and errors.
//
// It judges nothing, and it knows nothing of the database.
//
// # Invariants
//
//  1. Equal input gives equal bytes.
//  2. What comes from the history is escaped: all of it goes through html/template.
//  3. The size is bounded whatever the history holds: points, rows, drawings and texts have the limits
//     below, and what is left out is counted on the page.
package report
