//go:build !mutants

package mutant

// Built says that this build has mutants: it has none. Where asking On would cost a release something, because
// a call stands before it or because the function is small and called often, Built stands first: the
// compiler then drops the condition before it decides what to inline.
const Built = false

// On is whether a mutant is on: never, in this build.
func On(Name) bool { return false }
