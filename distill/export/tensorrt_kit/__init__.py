"""Scripts that go into a TensorRT build kit as they are: they import TensorRT, numpy and each other, nothing else."""
