package whole

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Notes of a bank history.
const (
	NoteAccounts = "accounts" // the keys of the accounts, with commas between them; counters of bucket NoteBucket
	NoteTotal    = "total"    // what they hold together, at all times
	NoteBucket   = "bucket"   // empty: the default one
	NoteEmpty    = "empty"    // not empty: nothing was there before the run, so a transaction of it makes the deposit, or none yet
)

// Bank checks that transfers keep the total. See the package's documentation.
func Bank() checker.Checker { return bank{} }

type bank struct{}

func (bank) Name() string { return "bank" }

func (bank) Proves() string {
	return "Every transaction that read all accounts found the total, or none of the one deposit. Which transfers it saw is not judged: " +
		"halves of transfers that cancel out pass."
}

func (c bank) Check(h *history.History, o checker.Options) checker.Result {
	r := newReport(h, "snapshots", "snapshots before the deposit", "transfers")
	b, err := newBranch(h, r)
	if err != nil {
		r.unjudged("%v", err)
		return r.result(c.Name(), o)
	}
	if !b.takeTransfers() {
		return r.result(c.Name(), o)
	}
	var taken []snapshot
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome == history.OK {
			taken = b.snapshot(t, taken)
		}
	}
	for _, s := range taken {
		b.showRich(s)
	}
	for _, s := range taken {
		b.judge(s)
	}
	return r.result(c.Name(), o)
}

// branch is one check of a bank.
type branch struct {
	h        *history.History
	r        *report
	bucket   string
	accounts map[string]bool
	total    int64
	deposit  *history.Txn           // brings the total in; nil: it was there before the run, unless
	failed   bool                   // a deposit failed, or none was there before the run: then perhaps nothing is there
	legs     map[int64]*history.Txn // amount to the first transfer that moves it
	rich     map[int]*history.Txn   // session to the first transaction that showed it the deposit
}

func newBranch(h *history.History, r *report) (*branch, error) {
	b := &branch{h: h, r: r, failed: h.Header.Notes[NoteEmpty] != "", bucket: h.Header.Notes[NoteBucket], accounts: map[string]bool{}, legs: map[int64]*history.Txn{}, rich: map[int]*history.Txn{}}
	total, err := strconv.ParseInt(h.Header.Notes[NoteTotal], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the header's note %q is %q: a bank history says there what the accounts hold together", NoteTotal, h.Header.Notes[NoteTotal])
	}
	b.total = total
	for name := range strings.SplitSeq(h.Header.Notes[NoteAccounts], ",") {
		if name = strings.TrimSpace(name); name != "" {
			b.accounts[name] = true
		}
	}
	if len(b.accounts) == 0 {
		return nil, fmt.Errorf("the header's note %q names no account: a bank history lists their keys there, with commas between them", NoteAccounts)
	}
	return b, nil
}

// on reports whether an operation is on an account.
func (b *branch) on(o *history.Op) bool {
	return o.Bucket == b.bucket && o.Type == "counter" && b.accounts[o.Key]
}

// takeTransfers finds the deposit and makes sure that nothing else changes the total: if something
// does, no snapshot can be judged.
func (b *branch) takeTransfers() bool {
	for i := range b.h.Txns {
		t := &b.h.Txns[i]
		net, legs, resets := b.net(t)
		switch {
		case legs == 0 && !resets:
		case !possible(t):
			b.failed = b.failed || net.compare(b.total) == 0
		case resets:
			b.r.unjudged("%s resets an account: that is no transfer", tn(t))
			return false
		case net.compare(0) == 0:
			b.r.counts["transfers"]++
		case net.compare(b.total) == 0 && b.deposit == nil:
			b.deposit = t
		default:
			b.r.unjudged("%s changes the total by %s: only one transaction may, which deposits all of it", tn(t), net)
			return false
		}
	}
	return true
}

// net is by how much a transaction changes the accounts together, and with how many steps.
func (b *branch) net(t *history.Txn) (net wide, legs int, resets bool) {
	for j := range t.Ops {
		o := &t.Ops[j]
		switch {
		case !o.Writes() || !b.on(o):
		case o.Do == history.Add:
			legs++
			net = net.plus(o.Arg.Int)
			if possible(t) && b.legs[o.Arg.Int] == nil {
				b.legs[o.Arg.Int] = t
			}
		default:
			resets = true
		}
	}
	return net, legs, resets
}

// snapshot is what a transaction that read all accounts found, without what it had moved itself.
type snapshot struct {
	txn  *history.Txn
	read map[string]int64
	sum  wide
}

// snapshot adds what a transaction found, if it read all accounts.
func (b *branch) snapshot(t *history.Txn, to []snapshot) []snapshot {
	read := map[string]int64{}
	own := map[string]int64{}
	for j := range t.Ops {
		o := &t.Ops[j]
		if !b.on(o) {
			continue
		}
		if o.Do == history.Add {
			own[o.Key] += o.Arg.Int
			continue
		}
		got := o.Got.Int - own[o.Key]
		if first, again := read[o.Key]; again && first != got {
			b.r.anomaly("non-repeatable read", fmt.Sprintf("%s read the account %s twice, less what it moved itself: %d, then %d", tn(t), o.Key, first, got), t)
			return to
		}
		read[o.Key] = got
	}
	if len(read) < len(b.accounts) {
		return to
	}
	b.r.counts["snapshots"]++
	s := snapshot{txn: t, read: read}
	for _, n := range read {
		s.sum = s.sum.plus(n)
	}
	return append(to, s)
}

// isRich reports whether a snapshot has the total. The deposit itself has nothing beside its own adds.
func (b *branch) isRich(s snapshot) bool {
	return s.sum.compare(b.total) == 0 && s.txn != b.deposit
}

// showRich notes that a session has seen the deposit, if a snapshot of it has.
func (b *branch) showRich(s snapshot) {
	t := s.txn
	if first := b.rich[t.Session]; b.isRich(s) && (first == nil || t.End < first.End) {
		b.rich[t.Session] = t
	}
}

func (b *branch) judge(s snapshot) {
	t := s.txn
	switch {
	case b.isRich(s):
	case s.sum.compare(0) == 0 && b.mayBePoor(t):
		b.r.counts["snapshots before the deposit"]++
	default:
		what := fmt.Sprintf("the accounts that %s read in %s", tn(t), t.Region)
		if t == b.deposit {
			what += ", less what it deposited itself,"
		}
		b.r.anomaly("total changed", fmt.Sprintf("%s sum to %s, the total is %d%s", what, s.sum, b.total, b.explain(s.read, s.sum)), t)
	}
}

// mayBePoor reports whether a transaction may not have seen the deposit: one that comes after it, or
// after a snapshot with it, in a session must have.
func (b *branch) mayBePoor(t *history.Txn) bool {
	if b.deposit == nil {
		return b.failed
	}
	s := b.rich[t.Session]
	return !before(b.deposit, t) && (s == nil || !before(s, t))
}

// explain looks for a transfer of which one half would account for the difference.
func (b *branch) explain(read map[string]int64, sum wide) string {
	text := ""
	if len(read) <= maxAccounts {
		text = ": " + balances(read)
	}
	low := wide{}.plus(b.total)
	if t := b.legs[int64(sum.lo-low.lo)]; t != nil && t != b.deposit {
		text += fmt.Sprintf("; as if of %s, for example, only the half that adds %d had been seen", tn(t), int64(sum.lo-low.lo))
	}
	return text
}

// maxAccounts balances are told.
const maxAccounts = 12

func balances(read map[string]int64) string {
	parts := make([]string, 0, len(read))
	for _, k := range sortedKeys(read) {
		parts = append(parts, fmt.Sprintf("%s = %d", k, read[k]))
	}
	return strings.Join(parts, ", ")
}
