package embedded

import (
	"context"
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/client"
)

type operation func(ctx context.Context, s *client.Session) error

// operations are what a chaos client does, one at random at a time.
func (k *chaosClient) operations() []operation {
	return []operation{
		k.add, k.add, k.addSeveral, k.addApplied, k.watch, k.grow,
		k.register, k.values, k.flag, k.flagDW, k.element, k.elementRW, k.field, k.shared, k.shared,
	}
}

// sum counts an add by what became of it.
func (k *chaosClient) sum(name string, n int64, err error) {
	l := k.added[name]
	if l == nil {
		l = &ledger{}
		k.added[name] = l
	}
	switch {
	case err == nil:
		l.acked += n
	case client.OutcomeOf(err) != client.OutcomeNotApplied:
		l.open += n
	}
}

func (k *chaosClient) add(ctx context.Context, s *client.Session) error {
	n := 1 + k.random.Int64N(10)
	err := s.Counter("watched").Add(ctx, n)
	k.sum("watched", n, err)
	return err
}

// addSeveral adds to two counters in one transaction, interactive or not.
func (k *chaosClient) addSeveral(ctx context.Context, s *client.Session) error {
	n := 1 + k.random.Int64N(10)
	err := s.Update(ctx, func(tx *client.Tx) error {
		if n%2 == 0 {
			if _, err := tx.Counter("left").Get(ctx); err != nil {
				return err
			}
		}
		if err := tx.Counter("left").Add(ctx, n); err != nil {
			return err
		}
		return tx.Counter("right").Add(ctx, n)
	})
	k.sum("left", n, err)
	k.sum("right", n, err)
	return err
}

// addApplied does not wait for the disk: a crash may take it back, acknowledged or not.
func (k *chaosClient) addApplied(ctx context.Context, s *client.Session) error {
	err := s.Counter("applied").Add(ctx, 1, client.Durable(client.Applied))
	l := k.added["applied"]
	if l == nil {
		l = &ledger{}
		k.added["applied"] = l
	}
	l.open++
	return err
}

// watch reads: counters written together are equal at every snapshot, and none falls in a session.
func (k *chaosClient) watch(ctx context.Context, s *client.Session) error {
	values, err := s.Do(ctx, nil, []client.Query{
		{Object: s.Counter("left").Object()}, {Object: s.Counter("right").Object()}, {Object: s.Counter("watched").Object()},
	})
	if err != nil {
		return err
	}
	if values[0].Int != values[1].Int {
		return fmt.Errorf("half a transaction: %d and %d", values[0].Int, values[1].Int)
	}
	if values[2].Int < k.lastN {
		return fmt.Errorf("a session that has seen %d sees %d", k.lastN, values[2].Int)
	}
	k.lastN = values[2].Int
	return nil
}

// wrote notes a write to something of the client's own.
func (k *chaosClient) wrote(name, value, empty string, read func(context.Context, *client.DB) (string, error), err error) error {
	o := k.own[name]
	if o == nil {
		o = &ownLeaf{read: read, may: []string{empty}}
		k.own[name] = o
	}
	switch {
	case err == nil:
		o.may = []string{value}
	case client.OutcomeOf(err) != client.OutcomeNotApplied:
		o.may = append(o.may, value)
	}
	return err
}

func (k *chaosClient) text() string { return fmt.Sprintf("%s/%d", k.name, k.made.Load()) }

// in is the client's own session on what is its own: it writes them in the order of its calls,
// wherever it is, which only a token can promise.
func (k *chaosClient) register(ctx context.Context, s *client.Session) error {
	name, value := "register/"+k.home(), k.text()
	return k.wrote(name, value, "", func(ctx context.Context, db *client.DB) (string, error) {
		return db.Register(name).GetString(ctx)
	}, s.Register(name).SetString(ctx, value))
}

// home names what is the client's own in the region where it is: without its token it may not have
// seen there what it wrote elsewhere.
func (k *chaosClient) home() string { return k.name + "@" + k.region }

func (k *chaosClient) values(ctx context.Context, s *client.Session) error {
	name, value := "values/"+k.home(), k.text()
	return k.wrote(name, value, "", func(ctx context.Context, db *client.DB) (string, error) {
		list, err := db.MVRegister(name).Get(ctx)
		var all []string
		for _, v := range list {
			all = append(all, string(v))
		}
		return strings.Join(all, ","), err
	}, s.MVRegister(name).SetString(ctx, value))
}

func (k *chaosClient) flag(ctx context.Context, s *client.Session) error {
	name := "flag/" + k.home()
	return k.toggle(ctx, s.Flag(name), "ew "+name, func(db *client.DB) client.Flag { return db.Flag(name) })
}

func (k *chaosClient) flagDW(ctx context.Context, s *client.Session) error {
	name := "flag/" + k.home()
	return k.toggle(ctx, s.FlagDW(name), "dw "+name, func(db *client.DB) client.Flag { return db.FlagDW(name) })
}

func (k *chaosClient) toggle(ctx context.Context, f client.Flag, name string, of func(*client.DB) client.Flag) error {
	on := k.random.IntN(2) == 0
	set := f.Disable
	if on {
		set = f.Enable
	}
	return k.wrote(name, fmt.Sprint(on), "false", func(ctx context.Context, db *client.DB) (string, error) {
		v, err := of(db).Get(ctx)
		return fmt.Sprint(v), err
	}, set(ctx))
}

func (k *chaosClient) element(ctx context.Context, s *client.Session) error {
	return k.addOrRemove(ctx, s.Set("set"), "aw", func(db *client.DB) client.Set { return db.Set("set") })
}

func (k *chaosClient) elementRW(ctx context.Context, s *client.Session) error {
	return k.addOrRemove(ctx, s.SetRW("set"), "rw", func(db *client.DB) client.Set { return db.SetRW("set") })
}

func (k *chaosClient) addOrRemove(ctx context.Context, set client.Set, kind string, of func(*client.DB) client.Set) error {
	e := fmt.Sprintf("%s/%d", k.home(), k.random.IntN(5))
	in := k.random.IntN(2) == 0
	do := set.Remove
	if in {
		do = set.Add
	}
	return k.wrote(kind+" "+e, fmt.Sprint(in), "false", func(ctx context.Context, db *client.DB) (string, error) {
		v, err := of(db).Contains(ctx, e)
		return fmt.Sprint(v), err
	}, do(ctx, e))
}

// grow adds a new element to a set that only grows.
func (k *chaosClient) grow(ctx context.Context, s *client.Session) error {
	e := k.text()
	return k.wrote("go "+e, "true", "false", func(ctx context.Context, db *client.DB) (string, error) {
		v, err := db.SetGO("grows").Contains(ctx, e)
		return fmt.Sprint(v), err
	}, s.SetGO("grows").Add(ctx, e))
}

// field assigns or removes a field of a map within a map that all share.
func (k *chaosClient) field(ctx context.Context, s *client.Session) error {
	name, value := k.home(), k.text()
	read := func(ctx context.Context, db *client.DB) (string, error) {
		return db.Map("map").Map("inner").Register(name).GetString(ctx)
	}
	inner := s.Map("map").Map("inner")
	if k.random.IntN(3) == 0 {
		return k.wrote("field "+name, "", "", read, inner.Remove(ctx, name, client.TypeRegisterLWW))
	}
	return k.wrote("field "+name, value, "", read, inner.Register(name).SetString(ctx, value))
}

// shared has everybody write and remove the same objects: only that all regions agree is checked.
func (k *chaosClient) shared(ctx context.Context, s *client.Session) error {
	e, v := fmt.Sprint(k.random.IntN(8)), k.text()
	key := "shared" + fmt.Sprint(k.random.IntN(2))
	m := s.Map(key)
	switch k.random.IntN(16) {
	case 0:
		return s.Set(key).Add(ctx, e)
	case 1:
		return s.Set(key).Remove(ctx, e)
	case 2:
		return s.SetRW(key).Add(ctx, e)
	case 3:
		return s.SetRW(key).Remove(ctx, e)
	case 4:
		return s.Register(key).SetString(ctx, v)
	case 5:
		return s.MVRegister(key).SetString(ctx, v)
	case 6:
		return s.FlagDW(key).Enable(ctx)
	case 7:
		return s.FlagDW(key).Disable(ctx)
	case 8:
		return s.Flag(key).Enable(ctx)
	case 9:
		return m.Counter(e).Add(ctx, 1)
	case 10:
		return m.Map("deep").Set("tags").Add(ctx, e)
	case 11:
		return m.Remove(ctx, "deep", client.TypeMap)
	case 12:
		return s.MapGO(key).Set(e).Add(ctx, v)
	case 13:
		return s.SetGO(key).Add(ctx, e)
	case 14:
		return s.Counter(key).Add(ctx, 1)
	}
	return k.deleteShared(ctx, s, key)
}

func (k *chaosClient) deleteShared(ctx context.Context, s *client.Session, key string) error {
	all := []client.Handle{
		s.Set(key).Handle, s.SetRW(key).Handle, s.SetGO(key).Handle, s.Map(key).Handle, s.MapGO(key).Handle,
		s.Register(key).Handle, s.MVRegister(key).Handle, s.Flag(key).Handle, s.FlagDW(key).Handle, s.Counter(key).Handle,
	}
	return all[k.random.IntN(len(all))].Delete(ctx)
}
