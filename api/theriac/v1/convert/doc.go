// Package convert translates between the nouns of package kv and the messages of the client API
// (theriac.v1), both ways, for the gRPC door and the Go client.
//
// It is responsible for refusing what the messages can say and the nouns can't: numbers out of
// range, lists of unequal length, an operation without a verb. It does not check what operations
// mean, nor the limits of keys and values: that is for whoever runs them.
//
// # Invariants
//
//  1. Decode of Encode is the identity, but for empty slices, which may come back as nil.
//  2. Decoding any message returns a noun or an *kv.Error, and never panics.
//  3. Messages and nouns share byte slices: who keeps one must not change the other.
package convert
