"""One module per learnable task: its head, targets, augmentation, losses and validation score."""
