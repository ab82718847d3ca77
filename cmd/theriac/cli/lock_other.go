//go:build !unix

package cli

// lockFolder does nothing where there are no advisory locks: of two commands that share a session
// and end at the same moment, one's token may be forgotten.
func lockFolder(string) (unlock func(), err error) { return func() {}, nil }
