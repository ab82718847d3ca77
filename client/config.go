package client

// config is what Options set.
type config struct {
	defaults call
	policy   retryPolicy
}

func newConfig(opts []Option) *config {
	c := &config{policy: newRetryPolicy()}
	for _, o := range opts {
		o(c)
	}
	return c
}
