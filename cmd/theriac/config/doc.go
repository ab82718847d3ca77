// Package config owns the settings of the theriac command: their names, defaults, ranges, where they
// come from, and what is checked before anything is opened, dialled or bound.
//
// It does not read or write data, does not listen, and does not know what a setting does further down.
//
// A setting has one name everywhere: the long flag --peer-listen is the key peer-listen in the
// configuration file and the environment variable THERIAC_PEER_LISTEN. Rising precedence: default,
// file, environment, flag. All three sources end in the same flag's Set, so that a value is read and
// refused in the same way wherever it stood.
//
// # Invariants
//
//  1. Load refuses a key that no command knows, in the file and in the environment, and names the
//     closest one that exists.
//  2. What Validate has passed is complete: every address is HOST:PORT, every file name and size is
//     checked, and plaintext is on loopback only.
//  3. Secrets are in files that settings name, never in a setting.
package config
