"""Students: small networks that learn from label shards. Knows nothing of teachers or of export."""
