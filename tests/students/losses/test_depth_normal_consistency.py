"""Normals from depth, and their agreement with predicted normals."""

from __future__ import annotations

import math

import torch

from distill.students.losses.depth_normal_consistency import consistency_loss, normals_of_depth
from distill.tasks import warp_depth


def test_normals_of_a_plane_are_its_own() -> None:
    """A floor 1.5 m below a camera that looks ahead, and a wall that is turned by 30 degrees."""
    height, width, fov_deg = 80, 120, 70.0
    slope = math.tan(math.radians(fov_deg) / 2)
    x = (((torch.arange(width) + 0.5) / width * 2 - 1) * slope).expand(height, width)
    y = ((1 - (torch.arange(height) + 0.5) / height * 2) * slope * height / width).view(-1, 1).expand(height, width)
    for normal, offset in ((torch.tensor([0.0, 1.0, 0.0]), 1.5), (torch.tensor([0.5, 0.0, math.sqrt(0.75)]), 3.0)):
        depth_m = offset / -(normal[0] * x + normal[1] * y - normal[2])  # n . (d x, d y, -d) = -offset
        seen = depth_m > 0
        found = normals_of_depth(depth_m.clamp(min=0.01)[None], fov_deg)[0]
        inner = seen[2:, 1:-1] & seen[:-2, 1:-1] & seen[1:-1, 2:] & seen[1:-1, :-2]
        assert inner.any()
        torch.testing.assert_close(found[:, inner], normal[:, None].expand(-1, int(inner.sum())), atol=1e-4, rtol=0.0)
        warped = warp_depth(depth_m.clamp(min=0.01))[None]
        everywhere = normal.view(1, 3, 1, 1).expand(1, 3, height, width)
        assert consistency_loss(warped, everywhere, seen.float()[None], fov_deg) < 1e-5
        assert consistency_loss(warped, -everywhere, seen.float()[None], fov_deg) > 1.9
