// Command converter turns a Debian package index into JSON Lines for theriac import.
//
//	converter [--bucket debian] [--part N/M] [--limit N] [FILE|-]
//
// Without FILE it reads what apt-cache dumpavail prints, and where that prints nothing, the status
// file of dpkg. What it writes:
//
//   - for each package a map under the key name_version_arch. A dependency field (Depends, Breaks,
//     Provides, ...) becomes a set-aw of its comma separated alternatives, with each run of white
//     space made one blank; every other field becomes a register-lww: what follows the colon without
//     surrounding white space, and for each further line a newline and the line without its first
//     blank. An empty dependency field is left out.
//   - for each section two counters: packages/SECTION, how many packages it has, and
//     installed-size/SECTION, the sum of their Installed-Size in KiB where that is a number; a
//     counter that would be 0 is left out. A package without a section counts under "unknown".
//
// Of several entries with the same key the first counts. --part N/M writes every M-th package,
// beginning with the N-th, and counters of those only: the parts imported in any regions, in any
// order, add up to the whole index. --limit N stops after N packages, counted before they are split.
//
// It knows nothing of theriac but the format of its lines, docs/formats/jsonl.md, and shares no code
// with it nor with indexdigest.
package main
