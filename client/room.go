package client

import "context"

// room bounds the bytes of requests under way. Who comes first enters first, so that a large one is not
// passed over for ever.
type room struct {
	units chan struct{} // holds an item for each maxPiped bytes that are taken
	turn  chan struct{} // holds an item while somebody is taking some
}

func newRoom(bytes int) *room {
	return &room{units: make(chan struct{}, bytes/maxPiped), turn: make(chan struct{}, 1)}
}

// enter waits for room for so many bytes, or for all of it if they are more. ok is false when ctx ended.
func (r *room) enter(ctx context.Context, bytes int) (leave func(), ok bool) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, false
	}
	want := min((bytes+maxPiped-1)/maxPiped, cap(r.units))
	for n := range want {
		select {
		case r.units <- struct{}{}:
		case <-ctx.Done():
			r.leave(n)
			return nil, false
		}
	}
	return func() { r.leave(want) }, true
}

func (r *room) leave(units int) {
	for range units {
		<-r.units
	}
}
