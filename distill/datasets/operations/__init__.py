"""Operations on sets of shards that write new sets: merge, split, filter, sample, dedupe, relabel."""
