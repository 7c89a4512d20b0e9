"""The resumable labeling job."""
