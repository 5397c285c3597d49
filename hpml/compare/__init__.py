"""Whether a change made training slower: two sides in interleaved rounds, and an answer for CI."""
