// Package docs keeps the documentation true: it runs the commands and programs in README.md and
// docs/, and checks what they name against the tree.
//
// It owns the marks on fenced blocks, and the tests that act on them. It knows nothing of what the
// commands do, and nothing imports it.
//
// # Marks
//
// The first word behind a fence is the language, the words behind it are marks. Every block in sh or
// go carries exactly one of these:
//
//	```sh run      run with bash -eu, theriac first on the PATH, $MODULE naming the tree. All
//	               blocks of a page run in order in one empty folder; a failure, or a minute,
//	               ends the test
//	```sh serve    start and leave running; the next block begins once the first line on standard
//	               output is there; everything is killed at the end of the page
//	```sh ci       only make TARGET and .ci/run: the steps of CI run these, here only the targets
//	               are looked up
//	```go run      a whole program: run it in the module, with the servers of the blocks above
//	```text output what the block just before printed: each line must occur in this order; a line
//	               with ... at its end need only begin like this, and a line of ... alone skips
//
//	```console     commands that are only shown: they do not end by themselves, or need more than one
//	               machine
//
// Blocks in other languages are not looked at. On Linux the tests run in a network namespace of their
// own, where the default ports are free.
//
// # Invariants
//
//  1. Every block in sh or go in README.md, CONTRIBUTING.md, docs/ and examples/ has a mark, and is
//     run accordingly.
//  2. A relative link leads to a file of the tree.
//  3. A test that a page names (TestX, FuzzX) exists, and every row of a table with a column "checked
//     by" names one.
//  4. A constant that docs/reference/limits.md lists exists and has the value given there, and every
//     exported constant named Max..., Min... or Default... is listed.
package docs
