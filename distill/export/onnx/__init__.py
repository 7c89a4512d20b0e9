"""ONNX export and graph rewrites: precision, quantization, resizing."""
