package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/client"
)

// present is the text of a place that is there and has no text of its own.
const present = "there"

// viewer reads at one snapshot: a DB or a session.
type viewer interface {
	View(ctx context.Context, fn func(tx *client.Tx) error, opts ...client.CallOption) error
}

// pageObjects bounds the objects of one request, so that no answer is too large.
const pageObjects = 64

// survey reads everything that is there at one snapshot.
func survey(ctx context.Context, db viewer, opts ...client.CallOption) (Reading, error) {
	var r Reading
	err := db.View(ctx, func(tx *client.Tx) error {
		r = Reading{}
		var page []client.Query
		for o, err := range tx.Keys(ctx, "") {
			if err != nil {
				return err
			}
			if page = append(page, client.Query{Object: o}); len(page) == pageObjects {
				if err := r.take(ctx, tx, page); err != nil {
					return err
				}
				page = nil
			}
		}
		return r.take(ctx, tx, page)
	}, opts...)
	return r, err
}

func (r Reading) take(ctx context.Context, tx *client.Tx, page []client.Query) error {
	if len(page) == 0 {
		return nil
	}
	values, err := tx.Do(ctx, nil, page)
	if err != nil {
		return err
	}
	for i, v := range values {
		r.add(page[i].Object, v)
	}
	return nil
}

var kindOf = map[client.Type]string{
	client.TypeCounter: "counter", client.TypeRegisterLWW: "register", client.TypeRegisterMV: "mv", client.TypeFlagEW: "flag",
	client.TypeFlagDW: "flagdw", client.TypeSetAW: "set", client.TypeSetRW: "setrw", client.TypeSetGO: "go", client.TypeMap: "map",
}

// add takes in one object.
func (r Reading) add(o client.Object, v client.Value) {
	object := kindOf[o.Type] + " " + string(o.Key)
	switch o.Type {
	case client.TypeCounter:
		r[Place{object, ""}] = fmt.Sprint(v.Int)
	case client.TypeRegisterLWW:
		r[Place{object, ""}] = string(v.Bytes)
	case client.TypeRegisterMV:
		var all []string
		for _, b := range v.List {
			all = append(all, string(b))
		}
		r[Place{object, ""}] = strings.Join(all, " and ")
	case client.TypeFlagEW, client.TypeFlagDW:
		if v.Flag {
			r[Place{object, ""}] = present
		}
	case client.TypeSetAW, client.TypeSetRW, client.TypeSetGO:
		for _, e := range v.List {
			r[Place{object, string(e)}] = present
		}
	case client.TypeMap:
		r.fields(object, v)
	default:
		r[Place{object, ""}] = fmt.Sprintf("of type %d", o.Type)
	}
}

// fields takes in a map, whose only field is the map "inner" with registers.
func (r Reading) fields(object string, v client.Value) {
	for _, outer := range v.Fields {
		if outer.Name != "inner" {
			r[Place{object, outer.Name}] = "unexpected"
		}
		for _, f := range outer.Value.Fields {
			r[Place{object, f.Name}] = string(f.Value.Bytes)
		}
	}
}

// ask asks what became of an operation, as a process that knows of it only by its id.
func ask(ctx context.Context, db *client.DB, w where) (Fate, error) {
	a, err := db.Outcome(ctx, w.id, w.attempt())
	switch {
	case errors.Is(err, client.ErrTooOld):
		return TooOld, nil
	case err != nil:
		return Open, fmt.Errorf("asking for the outcome of %s: %w", w.id, err)
	case a.Outcome == client.OutcomeApplied:
		return Applied, nil
	case a.Outcome == client.OutcomeNotApplied:
		return Absent, nil
	}
	return Open, fmt.Errorf("the outcome of %s is said to be %q", w.id, a.Outcome)
}

// honoured tells whether a node takes a session's token, or refuses it as lost.
func honoured(ctx context.Context, db *client.DB, token string) (bool, error) {
	t, err := client.ParseToken(token)
	if err != nil {
		return false, err
	}
	_, err = db.Resume(t).Counter("left").Get(ctx)
	if errors.Is(err, client.ErrLost) {
		return false, nil
	}
	return err == nil, err
}
