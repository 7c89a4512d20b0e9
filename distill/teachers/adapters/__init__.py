"""Teachers of files, ONNX models, functions and other generators."""
