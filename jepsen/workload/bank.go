package workload

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
)

// The bank's money.
const (
	bankAccounts = 6
	bankTotal    = 600
)

func account(i int) string { return fmt.Sprint("account/", i) }

// bankLoad moves money between accounts: whoever reads them all at one snapshot finds the total.
func bankLoad() Workload {
	names := make([]string, bankAccounts)
	for i := range names {
		names[i] = account(i)
	}
	return Workload{
		Name:   "bank",
		About:  "transfers between accounts, beside reads of all of them at one snapshot: the total is constant",
		notes:  map[string]string{whole.NoteAccounts: strings.Join(names, ","), whole.NoteTotal: strconv.Itoa(bankTotal), whole.NoteBucket: "", whole.NoteEmpty: "at first"},
		source: func(w *worker) source { return &bank{w: w, open: w.number == 0} },
		own:    []checker.Checker{whole.Bank()},
		usual: usual{
			exercised:     {"add counter": 0.95, "get counter": 4.4, othersRead: 4.3},
			"bank":        {"snapshots": 0.74, "transfers": 0.47},
			semanticsName: ofValues(4.4),
			lostName:      {acknowledgedWrites: 0.45},
		},
	}
}

type bank struct {
	w    *worker
	open bool // this worker makes the deposit, and has not yet
}

func (b *bank) next() plan {
	w := b.w
	switch {
	case b.open:
		return plan{ops: deposit()}
	case w.chance(2):
		return w.vary(balances()...)
	case w.chance(2):
		return w.vary(transfer(w.random.IntN(bankAccounts), 1+w.random.IntN(bankAccounts-1), 1+w.random.Int64N(20))...)
	}
	p := w.vary(balances()...)
	p.interactive = true
	p.then = half(w.random.IntN(bankAccounts), 1+w.random.IntN(bankAccounts-1))
	return p
}

// ended: the deposit is made until it is not certain that it failed.
func (b *bank) ended(t *history.Txn) { b.open = b.open && t.Outcome == history.Fail }

// deposit brings all the money in, in one transaction.
func deposit() []history.Op {
	var ops []history.Op
	for i := range bankAccounts {
		ops = append(ops, add(account(i), bankTotal/bankAccounts))
	}
	return ops
}

func balances() []history.Op {
	var ops []history.Op
	for i := range bankAccounts {
		ops = append(ops, read("counter", account(i)))
	}
	return ops
}

// transfer moves an amount from an account to the one that is so many further.
func transfer(from, further int, amount int64) []history.Op {
	return []history.Op{add(account(from), -amount), add(account((from+further)%bankAccounts), amount)}
}

// half moves half of what an account was read to hold.
func half(from, further int) func([]history.Op) []history.Op {
	return func(done []history.Op) []history.Op {
		if amount := done[from].Got.Int / 2; amount != 0 {
			return transfer(from, further, amount)
		}
		return nil
	}
}
