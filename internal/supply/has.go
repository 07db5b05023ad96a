package supply

import "context"

// Has tells whether Get would answer from the cache, for which it needs none of the
// spec's Tools.
func (s *Store) Has(ctx context.Context, spec Spec) bool {
	_, ok := s.cachedAny(ctx, spec)
	return ok
}
