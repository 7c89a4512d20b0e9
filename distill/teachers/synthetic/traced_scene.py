"""A synthetic scene through the pixels of its photo or of a generated image.

Every pixel gets rays of its own, wherever canvas, shift and zoom put it, so that the truth is never resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from jaxtyping import Bool, Float
from numpy import ndarray

from distill.teachers.synthetic.camera import Camera
from distill.teachers.synthetic.corruptions import CanvasTransform
from distill.teachers.synthetic.raycaster import Truth, trace_truth
from distill.teachers.synthetic.rendering import scene
from distill.teachers.synthetic.scene import COUNTABLE, SYNTHETIC_CLASSES, SceneObject, World


class TracedScene:
    """Implements `distill.teachers.tasks.base.SceneView`.

    Args:
        world: The scene.
        camera: Camera of the photo.
        photo_hw: Size of the photo.
        transform: Position of the view over the photo; None: the photo itself.
        mirrored: Whether the view shows the left-right mirrored photo.
        objects: Visible objects; None: all.
    """

    def __init__(
        self,
        world: World,
        camera: Camera,
        photo_hw: tuple[int, int],
        transform: CanvasTransform | None = None,
        *,
        mirrored: bool = False,
        objects: tuple[SceneObject, ...] | None = None,
    ) -> None:
        self._world, self._camera = world, camera
        self._transform = transform or CanvasTransform(photo_hw, (1.0, 1.0), (0.0, 0.0))
        self._objects = world.objects if objects is None else objects
        self.photo_hw, self.size_hw, self.mirrored = photo_hw, self._transform.size_hw, mirrored
        self.class_names: tuple[str, ...] = SYNTHETIC_CLASSES
        self.countable = tuple(SYNTHETIC_CLASSES[class_id] for class_id in COUNTABLE)
        self.instance_classes: Mapping[int, str] = world.instance_classes
        self._truth: Truth | None = None

    def positions(self, samples: int = 1) -> Float[ndarray, "2 n"]:
        """Continuous (x, y) in the photo of ``samples`` x ``samples`` points of each pixel, row by row."""
        fine = CanvasTransform(
            (self.size_hw[0] * samples, self.size_hw[1] * samples),
            (self._transform.scale_yx[0] * samples, self._transform.scale_yx[1] * samples),
            (self._transform.shift_yx_px[0] * samples, self._transform.shift_yx_px[1] * samples),
        )
        positions = fine.photo_positions(self.photo_hw)
        if self.mirrored:
            positions[0] = self.photo_hw[1] - positions[0]
        return positions

    def trace(self, samples: int = 1) -> Truth:
        """Truth at ``samples`` x ``samples`` points of each pixel; cached for one point."""
        if samples == 1 and self._truth is not None:
            return self._truth
        fine_hw = self.size_hw[0] * samples, self.size_hw[1] * samples
        truth = trace_truth(self._objects, self._camera, self.positions(samples), self.photo_hw, fine_hw)
        if samples == 1:
            self._truth = truth
        return truth

    def photo_truth(self) -> Truth:
        """Truth at the photo's pixels, with all objects."""
        return TracedScene(self._world, self._camera, self.photo_hw).trace()

    def inside_photo(self) -> Bool[ndarray, "h w"]:
        """Pixels of the view whose centers are inside the photo."""
        x, y = self.positions()
        inside = (x >= 0) & (x <= self.photo_hw[1]) & (y >= 0) & (y <= self.photo_hw[0])
        mask: ndarray = inside.reshape(self.size_hw)
        return mask


class PhotoView(TracedScene):
    """The view of the photo itself."""

    def photo_truth(self) -> Truth:
        """The cached truth of the view."""
        return self.trace()


@lru_cache(maxsize=4)
def photo_view(seed: int, index: int, size_hw: tuple[int, int]) -> PhotoView:
    """A scene through the pixels of its photo."""
    return PhotoView(*scene(seed, index), size_hw)
