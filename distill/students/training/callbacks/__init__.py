"""Lightning callbacks of training, and the records that they write."""
