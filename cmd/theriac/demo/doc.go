// Package demo is the guided tour of `theriac demo`: three regions in one process, with wide-area
// delays between them, that take concurrent writes, are cut off, crash and converge.
//
// It goes through the public client like any application and checks every claim that it prints: one
// that does not hold ends the tour with an error. It owns the story, and no part of the database.
package demo
