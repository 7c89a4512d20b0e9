"""Resizing inside the student's graph, in forms that are fast in inference engines.

Measured with ONNX Runtime, 2 threads, nano with all three tasks at 1920x1080: with `F.interpolate` to full size, a
transpose to channels last and division by the length, the graph took 77 ms, of which the network was 4; as below it
takes 36.

On a GPU the other branch is used, also in the trace of an export: there a compiler fuses pixel-wise operations into one
pass, which it cannot do with matrix products.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F


def downsample(image: UInt8[Tensor, "b h w 3"], size_hw: tuple[int, int]) -> Float[Tensor, "b 3 h2 w2"]:
    """Bilinear resize with antialiasing (half-pixel centers) to channels first; values stay in 0..255."""
    if image.is_cuda and torch.compiler.is_compiling():
        # As sums over windows, which fuse with reading the bytes; the library's kernel needs the whole image as floats
        # in memory first.
        rows, row_weights = _window(image.shape[1], size_hw[0], image.device)
        columns, column_weights = _window(image.shape[2], size_hw[1], image.device)
        low = (image[:, rows].float() * row_weights[:, :, None, None]).sum(dim=2)
        return (low[:, :, columns] * column_weights[:, :, None]).sum(dim=3).permute(0, 3, 1, 2)
    return F.interpolate(
        image.permute(0, 3, 1, 2).float(), size=size_hw, mode="bilinear", align_corners=False, antialias=True
    )


def upsample(plane: Float[Tensor, "b h w"], size_hw: tuple[int, int]) -> Float[Tensor, "b h2 w2"]:
    """Bilinear resize (half-pixel centers, no antialiasing) of one plane; equals `F.interpolate`."""
    if plane.is_cuda:
        return F.interpolate(plane[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0]
    rows = _bilinear_weights(plane.shape[1], size_hw[0], plane)
    columns = _bilinear_weights(plane.shape[2], size_hw[1], plane)
    # Columns first, while there are few rows; then one product over rows writes the full-size map once.
    return torch.matmul(rows, torch.matmul(plane, columns.transpose(0, 1)))


def upsample_at(
    maps: Float[Tensor, "b c h w"], size_hw: tuple[int, int], stride: int, phase_hw: tuple[int, int]
) -> Float[Tensor, "b c h2 w2"]:
    """Every `stride`-th row and column, from `phase_hw` on, of a bilinear resize to `size_hw`."""
    rows = _bilinear_weights(maps.shape[2], size_hw[0], maps)[phase_hw[0] :: stride]
    columns = _bilinear_weights(maps.shape[3], size_hw[1], maps)[phase_hw[1] :: stride]
    return torch.matmul(rows, torch.matmul(maps, columns.transpose(0, 1)))


def upsample_vectors(maps: Float[Tensor, "b 3 h w"], size_hw: tuple[int, int]) -> Float[Tensor, "b h2 w2 3"]:
    """Bilinear resize of vectors, to unit length and channels last."""
    if maps.is_cuda:
        large = F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        return large * torch.rsqrt((large * large).sum(dim=3, keepdim=True) + 1e-12)
    batch, channels, height, width = maps.shape
    rows = _bilinear_weights(height, size_hw[0], maps)
    columns = _bilinear_weights(width, size_hw[1], maps)
    # Channels move last while the map is small: 8 ms cheaper than moving them at 1920x1080.
    wide = torch.matmul(maps, columns.transpose(0, 1)).permute(0, 2, 3, 1)
    tall = torch.matmul(rows, wide.reshape(batch, height, size_hw[1] * channels))
    vectors = tall.reshape(batch, size_hw[0], size_hw[1], channels)
    # A product with ones gives the squared length for every channel; a sum over three channels, broadcast back, is
    # computed element by element (24 ms instead of 10).
    squares = torch.matmul(vectors * vectors, torch.ones(channels, channels, dtype=maps.dtype, device=maps.device))
    return vectors * torch.rsqrt(squares + 1e-12)


def upsample_ids(ids: Int[Tensor, "b h w"], size_hw: tuple[int, int]) -> Int[Tensor, "b h2 w2"]:
    """Nearest resize (half-pixel centers) of class ids.

    Two gathers, columns first; the exporter turns `F.interpolate` into one gather of 2 million index pairs (28 ms
    instead of 2 at 1920x1080).
    """
    rows = _nearest_index(ids.shape[1], size_hw[0], ids)
    columns = _nearest_index(ids.shape[2], size_hw[1], ids)
    return ids.index_select(2, columns).index_select(1, rows)


def _window(size_in: int, size_out: int, device: torch.device) -> tuple[Int[Tensor, "m k"], Float[Tensor, "m k"]]:
    """(indices, weights) of the inputs under the triangle filter of each output, as wide as one coarser pixel."""
    ratio = size_in / size_out
    support = torch.full((), ratio, device=device).clamp(min=1.0)
    center = (torch.arange(size_out, device=device, dtype=torch.float32) + 0.5) * ratio - 0.5
    # Whole-number arithmetic, so that the count may be a symbol in a trace.
    count = 2 * ((size_in + size_out - 1) // size_out) + 1
    index = (center - support).ceil().long()[:, None] + torch.arange(count, device=device)
    weight = (1.0 - (index - center[:, None]).abs() / support).clamp(min=0.0)
    weight = torch.where((index >= 0) & (index < size_in), weight, torch.zeros_like(weight))
    return index.clamp(0, size_in - 1), weight / weight.sum(dim=1, keepdim=True)


def _centers(size_in: int, size_out: int, like: Tensor) -> Float[Tensor, " n"]:
    """Positions of the output's pixel centers on the input's pixel grid."""
    index = torch.arange(size_out, device=like.device, dtype=torch.float32)
    return (index + 0.5) * (size_in / size_out) - 0.5


def _bilinear_weights(size_in: int, size_out: int, like: Tensor) -> Float[Tensor, "m n"]:
    """Row i has the input weights of output i: a triangle around its center, clamped at the borders."""
    center = _centers(size_in, size_out, like).clamp(0, size_in - 1)
    column = torch.arange(size_in, device=like.device, dtype=torch.float32)
    return (1.0 - (center[:, None] - column).abs()).clamp(min=0.0).to(like.dtype)


def _nearest_index(size_in: int, size_out: int, like: Tensor) -> Int[Tensor, " n"]:
    return (_centers(size_in, size_out, like) + 0.5).floor().clamp(0, size_in - 1).long()
