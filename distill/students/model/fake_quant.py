"""Quantization-aware training: simulated 8-bit rounding, so that the int8 export of a student loses less accuracy.

Weights are rounded per output channel, symmetric; inputs of a layer per tensor, over the range of the batch. Both pass
gradients straight through. Ranges are not tracked over batches, so there is no state to save or resume.
Source: Jacob et al., arXiv 1712.05877. Normalization after a convolution scales whole channels, so folding it at export
does not change the rounding.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine, int32, nn, zeros
from torch.nn import functional as F

_SMALLEST = 1e-8
"""Smallest scale, for layers of zeros."""


class FakeQuantConv2d(nn.Conv2d):
    """Convolution with fake-quantized weights and inputs."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h2 w2"]:
        """As `torch.nn.Conv2d`."""
        output: Tensor = self._conv_forward(fake_quant_activations(input), fake_quant_weights(self.weight), self.bias)
        return output


class FakeQuantLinear(nn.Linear):
    """Linear layer with fake-quantized weights and inputs."""

    def forward(self, input: Float[Tensor, "... c"]) -> Float[Tensor, "... k"]:
        """As `torch.nn.Linear`."""
        return F.linear(fake_quant_activations(input), fake_quant_weights(self.weight), self.bias)


_FAKE_QUANT_LAYERS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: FakeQuantConv2d, nn.Linear: FakeQuantLinear}


def enable_fake_quant(student: nn.Module) -> int:
    """Fake-quantize every plain convolution and linear layer; returns their number.

    Only their classes change: parameters keep their names, so copies and checkpoints are not affected.
    """
    layers = [layer for layer in student.modules() if type(layer) in _FAKE_QUANT_LAYERS]
    for layer in layers:
        layer.__class__ = _FAKE_QUANT_LAYERS[type(layer)]
    return len(layers)


def fake_quant_weights(weight: Float[Tensor, "k ..."]) -> Float[Tensor, "k ..."]:
    """Each output channel rounded to 255 levels around 0."""
    largest = weight.detach().flatten(1).abs().amax(dim=1)
    scale = (largest.float() / 127).clamp(min=_SMALLEST)
    zero = zeros(len(scale), dtype=int32, device=scale.device)
    return fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def fake_quant_activations(values: Float[Tensor, "*size"]) -> Float[Tensor, "*size"]:
    """The tensor rounded to 256 levels from its smallest to its largest value; 0 is one of them."""
    low, high = values.detach().aminmax()
    low, high = low.float().clamp(max=0.0), high.float().clamp(min=0.0)
    scale = ((high - low) / 255).clamp(min=_SMALLEST)
    zero = (-low / scale).round().clamp(0, 255).to(int32)
    return fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)
