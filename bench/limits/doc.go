// Package limits is what theriac is measured against: the same bytes through bare Pebble, and
// messages of the same sizes through bare gRPC.
//
// It is the only package besides storage that opens Pebble, and it knows nothing of theriac but the
// bytes that it is handed: no group commit of ours, no witness, no cache of leaves. A limit is tuned as
// the database is (Sizes, filters, format version), so that a quotient compares code and not
// settings.
package limits
