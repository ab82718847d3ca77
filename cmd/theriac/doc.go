// Command theriac runs nodes of the database and reads and writes its data.
//
// This package only puts the command into its surroundings: standard streams, environment, signals
// and the node that serve runs. The commands themselves are in package cli, their settings in package
// config.
package main
