"""Scripts that are copied into a TensorRT build kit: they import only TensorRT, numpy and each other."""
