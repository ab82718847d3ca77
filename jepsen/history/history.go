package history

// Version of the format.
const Version = 2

// MaxRegion is the highest number of a region that a vector or stamp may name. Checkers keep vectors as
// lists by number.
const MaxRegion = 1000

// StrongOrder is what vectors and stamps name beside regions: the one order in which strong transactions are
// committed, wherever they were made.
const StrongOrder = 0

// History is a whole run.
type History struct {
	Header Header
	Txns   []Txn   // Txns[i].ID is i+1
	Faults []Fault // in the order of their starts
}

// Header says what a run was.
type Header struct {
	Version  int               `json:"history"`
	Workload string            `json:"workload"`
	Nemesis  string            `json:"nemesis,omitempty"`
	Regions  []string          `json:"regions"` // names; region number i+1 in vectors and stamps is Regions[i]
	Seed     uint64            `json:"seed,omitempty"`
	Started  string            `json:"started,omitempty"` // RFC 3339; for people
	Notes    map[string]string `json:"notes,omitempty"`   // what a workload's checker needs to know, and anything for people
}

// Outcome is what a client knows of a transaction.
type Outcome string

// Outcomes.
const (
	OK      Outcome = "ok"      // applied, and answered
	Fail    Outcome = "fail"    // certainly not applied
	Unknown Outcome = "unknown" // perhaps applied, perhaps not yet
)

// Txn is one transaction, as its client saw it.
type Txn struct {
	ID         int     `json:"id"`                   // 1 to the number of transactions
	Process    int     `json:"process"`              // a logical caller
	Session    int     `json:"session,omitempty"`    // whose guarantees it has; 0: of none
	Region     string  `json:"region"`               // which served it, or was asked
	Level      string  `json:"level"`                // consistency level: "eventual", "causal", "bounded", "quorum", "strong"
	Bound      int64   `json:"bound,omitempty"`      // of level bounded: how old what it misses may be at most, in nanoseconds
	Durability string  `json:"durability,omitempty"` // "applied", "local", a number of regions, "majority", "all"; empty when it wrote nothing
	Start      int64   `json:"start"`                // when the call began
	End        int64   `json:"end"`                  // when it was answered; -1: never
	Outcome    Outcome `json:"outcome"`
	Error      string  `json:"error,omitempty"`
	Final      bool    `json:"final,omitempty"` // a read after all faults were healed and all regions were given time to converge
	Ops        []Op    `json:"ops"`             // in program order; a read sees the transaction's own earlier writes

	// What the database reported of it, and what it was asked to include. Missing: not reported.
	Snapshot    Vector `json:"snapshot,omitzero"`     // what its reads saw
	TokenBefore Vector `json:"token_before,omitzero"` // what it had to see at least
	TokenAfter  Vector `json:"token_after,omitzero"`  // of the answer
	Commit      *Stamp `json:"commit,omitempty"`      // nil also when it wrote nothing
	OpID        string `json:"op_id,omitempty"`       // operation id of its commit
	Served      string `json:"served,omitempty"`      // level at which it was served
	Disks       int    `json:"disks,omitempty"`       // in how many regions what it wrote was on disk by the answer
}

// Writes reports whether the transaction writes.
func (t *Txn) Writes() bool {
	for i := range t.Ops {
		if t.Ops[i].Writes() {
			return true
		}
	}
	return false
}

// Ended reports whether the transaction was answered.
func (t *Txn) Ended() bool { return t.End >= 0 }

// Vector says for each region number, and StrongOrder, up to which of its timestamps.
type Vector map[int]uint64

// Stamp names a commit. Several transactions that a region committed together may share one.
type Stamp struct {
	Region int    `json:"region"` // its number, from 1; StrongOrder: of a strong transaction
	Time   uint64 `json:"time"`
}

// Do is what an operation does.
type Do string

// Reads.
const (
	Get      Do = "get"      // the whole value
	Contains Do = "contains" // whether a set holds Element
)

// Writes.
const (
	Add     Do = "add"     // Arg.Int to a counter
	Assign  Do = "assign"  // Arg.Text to a register
	Insert  Do = "insert"  // Element into a set
	Remove  Do = "remove"  // Element from a set
	Enable  Do = "enable"  // a flag
	Disable Do = "disable" // a flag
	Reset   Do = "reset"   // what the transaction's snapshot holds, with all below
)

// Op is one operation on one object, or on a field within a map.
type Op struct {
	Do      Do     `json:"do"`
	Bucket  string `json:"bucket,omitempty"` // empty: the default one
	Key     string `json:"key"`
	Type    string `json:"type"` // of the object: "counter", "register-lww", ...
	Path    []Step `json:"path,omitempty"`
	Element string `json:"element,omitempty"`
	Arg     *Value `json:"arg,omitempty"`    // of add and assign
	Expect  *Value `json:"expect,omitempty"` // of assign: a compare-and-set
	Got     *Value `json:"got,omitempty"`    // the answer of a read
}

// Writes reports whether the operation writes.
func (o *Op) Writes() bool { return o.Do != Get && o.Do != Contains }

// Leaf is the type of what the operation is on: the object's, or that of the last field of the path.
func (o *Op) Leaf() string {
	if n := len(o.Path); n > 0 {
		return o.Path[n-1].Type
	}
	return o.Type
}

// Step is a field of a map.
type Step struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Value is what a read returned or an assignment wrote. Which field counts follows from the type.
type Value struct {
	Absent bool     `json:"absent,omitempty"` // nothing was ever there, or all of it was removed
	Int    int64    `json:"int,omitempty"`    // counters
	Flag   bool     `json:"flag,omitempty"`   // flags, and contains
	Text   string   `json:"text,omitempty"`   // register-lww
	List   []string `json:"list,omitempty"`   // register-mv: its values; sets: their elements; each once, in byte order
	Fields []Field  `json:"fields,omitempty"` // maps, in the order of (name, type)
}

// Field is a field of a map's value.
type Field struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value Value  `json:"value"`
}

// Fault is a disturbance while it lasted.
type Fault struct {
	Kind    string   `json:"kind"`
	Targets []string `json:"targets,omitempty"` // regions or links that it hit
	Start   int64    `json:"start"`
	End     int64    `json:"end"` // -1: it was not ended
	// Effects are counts of what it did, by names of whoever brought it about; what it did not do is not in it.
	// Nil: nobody looked, or nothing was seen.
	Effects map[string]int `json:"effects,omitempty"`
}
