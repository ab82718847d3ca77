package crdt

// SplitItems cuts a leaf into its items.
func SplitItems(items []byte) [][]byte {
	var out [][]byte
	for cur, before := (cursor{src: items}), items; cur.next(); before = cur.src {
		out = append(out, before[:len(before)-len(cur.src)])
	}
	return out
}

// HasDot tells items that have not been forgotten.
func HasDot(item []byte) bool { return item[0]&tagDot != 0 }

// HasSnapshot tells overrides that are not spent.
func HasSnapshot(item []byte) bool { return item[0]&tagSnapshot != 0 }
