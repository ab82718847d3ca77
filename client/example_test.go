package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
)

// open stands for client.Open(ctx, "localhost:6700", client.Insecure()): the same database, in
// memory.
func open() *client.DB { return client.New(memkv.New().Node(1, "eu")) }

func Example() {
	ctx := context.Background()
	db := open() // client.Open(ctx, "localhost:6700", client.Insecure())
	defer db.Close()

	if err := db.Counter("likes").Add(ctx, 1); err != nil {
		fmt.Println(err)
		return
	}
	likes, err := db.Counter("likes").Get(ctx)
	fmt.Println(likes, err)
	// Output: 1 <nil>
}

// Three writes that happen together or not at all, in every region.
func ExampleDB_Update() {
	ctx := context.Background()
	db := open()
	err := db.Update(ctx, func(tx *client.Tx) error {
		if err := tx.Register("order/7").SetString(ctx, "paid"); err != nil {
			return err
		}
		if err := tx.Set("orders/paid").Add(ctx, "7"); err != nil {
			return err
		}
		return tx.Counter("orders/count").Add(ctx, 1)
	})
	fmt.Println(err)

	err = db.View(ctx, func(tx *client.Tx) error {
		state, err := tx.Register("order/7").GetString(ctx)
		if err != nil {
			return err
		}
		count, err := tx.Counter("orders/count").Get(ctx)
		fmt.Println(state, count)
		return err
	})
	fmt.Println(err)
	// Output:
	// <nil>
	// paid 1
	// <nil>
}

// A session reads its own writes wherever it goes; here it goes on in another process.
func ExampleDB_Session() {
	ctx := context.Background()
	db := open()

	session := db.Session()
	if err := session.Register("prescription").SetString(ctx, "theriac, 4 drops"); err != nil {
		fmt.Println(err)
		return
	}
	header := session.Token().String() // travels with the message that says where to look

	token, err := client.ParseToken(header)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := db.Resume(token).Register("prescription").GetString(ctx)
	fmt.Println(text, err)
	// Output: theriac, 4 drops <nil>
}

func ExampleDB_Session_receipt() {
	ctx := context.Background()
	db := open()
	var r client.Receipt
	if err := db.Counter("likes").Add(ctx, 1, client.WithReceipt(&r)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("written in", r.Region, "at level", r.Level)

	// The least snapshot that this read accepts is the one that the write gave.
	likes, err := db.Counter("likes").Get(ctx, client.WithToken(r.Token))
	fmt.Println(likes, err)
	// Output:
	// written in eu at level causal
	// 1 <nil>
}

func ExampleStrong() {
	ctx := context.Background()
	db := open()
	_ = db.Register("owner").SetString(ctx, "nobody", client.Strong())

	// Runs again, at a newer snapshot, if another strong transaction gets in between.
	err := db.Update(ctx, func(tx *client.Tx) error {
		owner, err := tx.Register("owner").GetString(ctx)
		if err != nil || owner != "nobody" {
			return err
		}
		return tx.Register("owner").SetString(ctx, "ada")
	}, client.Strong(), client.Durable(client.Majority))
	if err != nil {
		fmt.Println(err)
		return
	}
	owner, err := db.Register("owner").GetString(ctx, client.Bounded(2*time.Second))
	fmt.Println(owner, err)
	// Output: ada <nil>
}

func ExampleMap() {
	ctx := context.Background()
	user := open().Map("user/ada")

	_ = user.Register("name").SetString(ctx, "Ada")
	_ = user.Counter("visits").Add(ctx, 3)
	_ = user.Map("address").Register("city").SetString(ctx, "London")

	for field, err := range user.Fields(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(field.Name)
	}
	city, _ := user.Map("address").Register("city").GetString(ctx)
	fmt.Println(city)
	// Output:
	// address
	// name
	// visits
	// London
}

func ExampleRegister_CompareAndSet() {
	ctx := context.Background()
	seat := open().Register("seat/12a")

	fmt.Println(seat.CompareAndSet(ctx, nil, []byte("ada"))) // nil: nobody has it
	err := seat.CompareAndSet(ctx, nil, []byte("bob"))
	fmt.Println(errors.Is(err, client.ErrAborted))
	// Output:
	// <nil>
	// true
}

func ExampleBucket_Keys() {
	ctx := context.Background()
	shop := open().Bucket("shop")
	_ = shop.Counter("stock/apples").Add(ctx, 5)
	_ = shop.Counter("stock/pears").Add(ctx, 7)
	_ = shop.Register("owner").SetString(ctx, "Galen")

	for object, err := range shop.Keys(ctx, "stock/") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(object.Key)
	}
	// Output:
	// stock/apples
	// stock/pears
}

func ExampleSet_Elements() {
	ctx := context.Background()
	tags := open().Set("tags")
	_ = tags.AddAll(ctx, []string{"geo", "crdt", "go"})
	_ = tags.Remove(ctx, "go")
	for tag, err := range tags.Elements(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(tag)
	}
	// Output:
	// crdt
	// geo
}

// What to do with an error depends on what became of the write.
func ExampleOutcomeOf() {
	ctx := context.Background()
	db := open()
	err := db.Bucket("").Counter("likes").Add(ctx, 1)
	switch client.OutcomeOf(err) {
	case client.OutcomeNotApplied:
		fmt.Println("nothing was written:", errors.Is(err, client.ErrInvalid))
	case client.OutcomeApplied:
		fmt.Println("written all the same")
	case client.OutcomeUnknown:
		var e *client.Error
		if errors.As(err, &e) {
			answer, err := db.Outcome(ctx, e.ID)
			fmt.Println(answer.Outcome, err)
		}
	}
	// Output: nothing was written: true
}
