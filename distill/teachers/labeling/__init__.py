"""The resumable labeling job: photos, shards, statistics, previews."""
