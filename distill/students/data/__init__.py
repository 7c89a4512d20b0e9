"""Shards to batches: index, decoding, cache, augmentation."""
