"""The student network: backbone, neck, resampling, fake quantization."""
