package sim

// Path is something that runs must come through now and then: a run of many seeds in which none did
// has not tested it.
type Path struct {
	Name  string // as Report.Reached has it
	About string
	Seeds int // so many are enough to expect it in one of them: chances to miss it are below one in a thousand
}

// Paths lists all of them. How often they are reached is measured: a run of seeds prints it.
var Paths = []Path{
	{"fault partition-halves", "the regions are cut in two", 25},
	{"fault partition-isolate", "a region is cut off", 25},
	{"fault partition-bridge", "two groups that only one region reaches both of", 25},
	{"fault partition-oneway", "links are cut one way", 25},
	{"fault partition-flapping", "links come and go", 25},
	{"fault slow", "links are slow", 25},
	{"fault stall", "links hold everything back", 25},
	{"fault reset", "connections break", 25},
	{"fault kill-one", "a region crashes", 25},
	{"fault kill-several", "several regions crash at once", 25},
	{"fault kill-all", "all regions crash at once", 25},
	{"shown and taken back", "a crash came when a group was shown and not on disk", 25},
	{"fault restart-loop", "a region crashes again and again", 25},
	{"fault clock", "a clock steps", 50},
	{"fault clock-drift", "a clock goes too fast or too slow", 50},
	{"fault region-add", "a region joins during the run", 50},
	{"fault slow-disk", "syncs take long", 50},
	{"fault disk-error", "syncs fail", 100},
	{"fault " + diskCopied, "a disk is gone, and others have all of it", 50},
	{"fault " + diskLost, "a disk is gone, with what no other has", 400},
	{"fault bad-calls", "callers' requests and answers get lost", 25},
	{"message lost with its connection", "what was on the way did not arrive", 10},
	{"message duplicated", "a message of a stream came twice", 50},
	{"message reordered", "two messages of a stream changed places", 50},
	{"disk error met", "the log was to be synced while the disk failed", 150},
	{"node stopped by its disk", "a node said that it takes no more writes, and why", 150},
	{"slow sync", "a sync took time", 25},
	{"request lost", "a request never arrived", 25},
	{"answer lost", "a write was taken, and its caller did not hear so", 25},
	{"late request taken", "a request arrived when its caller had given up, and was taken", 25},
	{"write tried again", "the client library tried a write again", 25},
	{"log searched for an operation", "a retry was looked for in the log", 25},
	{"outcome asked for", "a caller asked what became of a write", 25},
	{"group of several transactions", "transactions were committed together", 25},
	{"answer: stale, not applied", "a token was waited for in vain", 25},
	{"answer: aborted, not applied", "a condition did not hold", 50},
	{"answer: unavailable, not applied", "a region was down", 10},
	{"answer: read-only, not applied", "a region took no writes", 50},
	{"region joined", "a region was counted as serving", 10},
	{"cut taken", "a newcomer, or a region without data, copied all of it", 10},
	{"lost disk recovered", "a region took its own writes back from others", 50},
	{"lane asked of a third region", "a region was silent, and another asked for its records", 10},
	{"records passed on by a third region", "and had them", 10},
	{"report passed on by a third region", "what one region had on its disk another told", 10},
	{"record offered: wait", "a record came before what it depends on", 10},
	{"record offered: duplicate", "a record came again", 25},
	{"records paused by skew", "a region's clock was too far ahead, so its records waited", 150},
	{"writes refused for a clock that is ahead", "and it took no writes", 150},
	{"log dropped though a region lacks it", "the log was beyond its limit", 25},
	{"region fell behind", "what a region lacked was in no log in reach", 200},
	{"data taken anew after falling behind", "so it copied everything", 200},
	{"something settled", "dots could be forgotten", 10},
	{"leaf rewritten", "and items were folded into values", 10},
	{"compaction", "Pebble compacted", 10},
	{"closure checked", "an exposed vector was held against all records", 10},
	{"region served in the end", "after healing", 10},
}
