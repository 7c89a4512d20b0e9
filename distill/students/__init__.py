"""Students: small networks that are trained on label shards."""
