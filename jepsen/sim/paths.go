package sim

// Path is something that runs must come through now and then: a run of many seeds in which none did
// has not tested it.
type Path struct {
	Name  string // as Report.Reached has it
	About string
	Seeds int // so many seeds are enough to expect it
}

// Paths lists all of them.
var Paths = []Path{
	{"fault partition-halves", "the regions are cut in two", 10},
	{"fault partition-isolate", "a region is cut off", 10},
	{"fault partition-bridge", "two groups that only one region reaches both of", 10},
	{"fault partition-oneway", "links are cut one way", 10},
	{"fault partition-flapping", "links come and go", 10},
	{"fault slow", "links are slow", 10},
	{"fault stall", "links hold everything back", 10},
	{"fault reset", "connections break", 10},
	{"fault kill-one", "a region crashes", 10},
	{"fault kill-several", "several regions crash at once", 10},
	{"fault kill-all", "all regions crash at once", 10},
	{"fault restart-loop", "a region crashes again and again", 10},
	{"fault clock", "a clock steps", 20},
	{"fault clock-drift", "a clock goes too fast or too slow", 20},
	{"fault region-add", "a region joins during the run", 20},
	{"fault slow-disk", "syncs take long", 20},
	{"fault disk-error", "syncs fail", 50},
	{"fault " + diskLost, "a disk is gone, with what no other has", 100},
	{"fault " + diskCopied, "a disk is gone, and others have all of it", 50},
	{"fault bad-calls", "callers' requests and answers get lost", 10},
}
