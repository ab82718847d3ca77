package serve

import "github.com/theriac-db/theriac/node"

// Version is the version of the nodes that Run runs.
const Version = node.Version
