package client

import (
	"context"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/kv"
)

// failures are what one call met at the endpoints that it tried: the last error of each.
type failures struct {
	list []failure
	last error // that another try may cure; nil: there was none
}

type failure struct {
	e   *endpoint
	err error
}

func (f *failures) note(e *endpoint, err error) {
	if !unusable(err) {
		f.last = err
	}
	for i := range f.list {
		if f.list[i].e == e {
			f.list[i].err = err
			return
		}
	}
	f.list = append(f.list, failure{e, err})
}

// tried reports whether an endpoint is among them.
func (f *failures) tried(e *endpoint) bool {
	return slices.ContainsFunc(f.list, func(x failure) bool { return x.e == e })
}

// instead is the error of a call whose last try failed with err. When that only ran out of time, what
// the tries before it met says more.
func (f *failures) instead(ctx context.Context, err error) error {
	if f.last != nil && ctx.Err() != nil && kv.KindOf(err) == kv.KindDeadline && kv.OutcomeOf(err) == kv.NotApplied {
		return f.all()
	}
	return err
}

// unusable reports whether an endpoint was found to be no database.
func (f *failures) unusable(e *endpoint) bool {
	return slices.ContainsFunc(f.list, func(x failure) bool { return x.e == e && unusable(x.err) })
}

// hopeless reports whether all are.
func (f *failures) hopeless(all []*endpoint) bool {
	return !slices.ContainsFunc(all, func(e *endpoint) bool { return !f.unusable(e) })
}

// alone reports whether none but e may be a database.
func (f *failures) alone(all []*endpoint, e *endpoint) bool {
	return !slices.ContainsFunc(all, func(other *endpoint) bool { return other != e && !f.unusable(other) })
}

// everywhere reports whether all have been tried.
func (f *failures) everywhere(all []*endpoint) bool {
	return !slices.ContainsFunc(all, func(e *endpoint) bool { return !f.tried(e) })
}

// all is the error of a call that no endpoint served: of several it names each one's reason. Its kind
// is that of the last error that another try may cure.
func (f *failures) all() error {
	if len(f.list) == 1 {
		return f.list[0].err
	}
	cause := f.last
	if cause == nil {
		cause = f.list[0].err
	}
	reasons := make([]string, len(f.list))
	for i, x := range f.list {
		reasons[i] = x.err.Error()
	}
	e := kv.Errorf(kv.KindOf(cause), "none of %d addresses can serve: %s", len(f.list), strings.Join(reasons, "; "))
	e.Err, e.RetryAfter = cause, retryAfter(cause)
	return e
}
