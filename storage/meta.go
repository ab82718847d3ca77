package storage

import "github.com/theriac-db/theriac/kv"

// Meta reads a caller's metadata, as last committed. A missing key gives nil and no error.
func (s *Store) Meta(key string) ([]byte, error) {
	value, found, err := s.read(userKey(key))
	if err != nil || !found {
		return nil, err
	}
	return value, nil
}

// MetaScan calls fn for every piece of metadata whose key begins with prefix, in the order of keys,
// until fn returns an error, which it returns. value is valid during the call.
func (s *Store) MetaScan(prefix string, fn func(key string, value []byte) error) error {
	return s.scanMeta(userKey(prefix), func(key, value []byte) error { return fn(string(key[2:]), value) })
}

// checkMetaKey keeps names within what fits a Pebble key comfortably.
func checkMetaKey(key string) error {
	if len(key) == 0 || len(key) > kv.MaxKey {
		return kv.Errorf(kv.KindInvalid, "storage: metadata key of %d bytes; 1 to %d are allowed", len(key), kv.MaxKey)
	}
	return nil
}
