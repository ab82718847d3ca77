// Package jepsen is `theriac jepsen`: runs of workloads on real nodes that are disturbed, and checks of what
// was recorded.
//
// It owns flags, what is printed, and how a cluster is come by: processes of this very command, or nodes that
// somebody else runs. A run is package jepsen/runner's, a verdict the checkers'.
package jepsen
