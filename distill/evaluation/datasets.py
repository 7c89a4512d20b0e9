"""Public data sets in their official layouts: paths, meaning of the numbers, evaluation protocol.

Data sets are not downloaded; the root is the folder of an unpacked data set.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.evaluation.ground_truth import FileGroundTruth, FileItem
from distill.evaluation.protocol import Crop
from distill.files import read_file
from distill.images import decode_color_map, decode_map
from distill.images.file_format import check_unpacked_size
from distill.labels import Label
from distill.shards import Manifest
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task

Finder = Callable[[Path], list[FileItem]]


@dataclass(frozen=True, slots=True)
class Preset:
    """A data set.

    Attributes:
        find: Lists its evaluation photos under a root.
        layout: Expected files under the root, for messages.
        task: Task of its ground truth.
        classes: Classes of semantic truth, given the root.
        crop: Crop used by its papers.
        min_depth_m: Smallest depth used by its papers.
        max_depth_m: Largest depth used by its papers.
    """

    find: Finder
    layout: str
    task: Task
    classes: Callable[[Path], tuple[str, ...]] = lambda root: ()
    crop: Crop = Crop.NONE
    min_depth_m: float = 1e-3
    max_depth_m: float = 80.0


def open_dataset(name: str, root: Path) -> FileGroundTruth:
    """Open the ground truth of a data set.

    Raises:
        UsageError: Its files are missing.
    """
    preset = DATASETS[name]
    items = preset.find(root)
    if not items:
        raise UsageError(f"{root}: not {name} in its official layout", hint=f"it must hold {preset.layout}")
    manifest = Manifest(tasks=(preset.task,), classes=preset.classes(root), shards=(), depth_kind=DepthKind.METRIC)
    return FileGroundTruth(f"{name} ({root})", root, manifest, items)


# Reading

_UNKNOWN = 254
"""Class of ids and colors that a data set does not have."""


def _depth_png(path: Path, per_meter: float) -> Label:
    stored = decode_map(_bytes(path), str(path))
    return _depth(stored.astype(np.float32) / per_meter, stored > 0)


def _depth_npy(path: Path, mask: Path) -> Label:
    depth_m, valid = (_array(name) for name in (path, mask))
    if valid.shape != depth_m.shape:
        raise DistillError(
            f"{mask}: has shape {valid.shape}, and {path.name} has {depth_m.shape}", hint="copy the data set again"
        )
    return _depth(depth_m.astype(np.float32), (valid > 0) & (depth_m > 0))


def _depth(depth_m: Shaped[ndarray, "h w"], valid: ndarray) -> Label:
    valid = valid & np.isfinite(depth_m)
    return Label(Task.DEPTH, np.where(valid, depth_m, 0), valid, valid.astype(np.float32), depth_kind=DepthKind.METRIC)


def _ids(path: Path, table: UInt8[ndarray, " 256"], classes: tuple[str, ...]) -> Label:
    stored = decode_map(_bytes(path), str(path))
    if stored.dtype != np.uint8 or stored.ndim != 2:
        raise DistillError(f"{path}: holds {stored.dtype} of shape {stored.shape}, not class ids", hint="copy it again")
    ids = table[stored]
    _refuse_unknown(ids == _UNKNOWN, f"id {stored[ids == _UNKNOWN].max(initial=0)}", path)
    if not ((stored != 0) & (stored != IGNORE_SEMANTIC)).any() and (stored == IGNORE_SEMANTIC).any():
        raise DistillError(
            f"{path}: the only id other than 0 is 255, as in a mask of the foreground",
            hint="copy the data set again, or label these masks with a maps config and evaluate against that",
        )
    return _semantic(ids, classes)


def _colors(path: Path, palette: Mapping[tuple[int, int, int], int], classes: tuple[str, ...]) -> Label:
    rgb = decode_color_map(_bytes(path), str(path)).astype(np.int64)
    codes = (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]
    ids = np.full(codes.shape, _UNKNOWN, np.uint8)
    for (red, green, blue), index in {(0, 0, 0): IGNORE_SEMANTIC, **palette}.items():
        ids[codes == (red << 16) + (green << 8) + blue] = index
    _refuse_unknown(ids == _UNKNOWN, f"color {rgb[ids == _UNKNOWN][:1].tolist()}", path)
    return _semantic(ids, classes)


def _refuse_unknown(unknown: Bool[ndarray, "h w"], what: str, path: Path) -> None:
    if unknown.any():
        raise DistillError(
            f"{path}: {what} is none of this data set ({unknown.mean():.1%} of the pixels have such values)",
            hint="copy the data set again, or label these maps with a maps config and evaluate against that",
        )


def _semantic(ids: ndarray, classes: tuple[str, ...]) -> Label:
    valid = ids != IGNORE_SEMANTIC
    return Label(Task.SEMANTIC, ids, valid, valid.astype(np.float32), classes=classes)


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise DistillError(f"{path}: cannot be read: {error.strerror}", hint="copy the data set again") from error


def _array(path: Path) -> Shaped[ndarray, "h w"]:
    """The numbers of an ``.npy`` file, without an axis of length one at the end."""
    try:
        data = read_file(path)
        check_unpacked_size(data)
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy's parser raises almost anything on damaged files
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise DistillError(f"{path}: cannot be read: {reason}", hint="copy the data set again") from error
    if isinstance(array, ndarray) and array.dtype.kind in "buif":
        plain: ndarray = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
        if plain.ndim == 2 and plain.size:
            return plain
    raise DistillError(f"{path}: does not hold one number per pixel", hint="copy the data set again")


# Finding


def _pairs(photos: Sequence[Path], truth_of: Callable[[Path], Path], read: Callable[[Path], Label]) -> list[FileItem]:
    """Photos that have ground truth, sorted by name."""
    task = Task.DEPTH if read.func in (_depth_png, _depth_npy) else Task.SEMANTIC  # type: ignore[attr-defined]
    return [
        FileItem(photo, {task: partial(read, truth)})
        for photo in sorted(photos)
        if (truth := truth_of(photo)).is_file()
    ]


def _nyu(root: Path) -> list[FileItem]:
    photos = list(root.glob("**/rgb_*.jpg")) + list(root.glob("**/rgb_*.png"))
    return _pairs(
        photos,
        lambda photo: photo.with_name(f"sync_depth_{photo.stem.removeprefix('rgb_')}.png"),
        partial(_depth_png, per_meter=1000.0),
    )


def _kitti(root: Path) -> list[FileItem]:
    folder = next((path for path in (root / "val_selection_cropped", root) if (path / "image").is_dir()), root)
    return _pairs(
        list((folder / "image").glob("*.png")),
        lambda photo: folder / "groundtruth_depth" / photo.name.replace("_sync_image_", "_sync_groundtruth_depth_"),
        partial(_depth_png, per_meter=256.0),
    )


def _diode(root: Path) -> list[FileItem]:
    items = []
    for photo in sorted((root / "val" if (root / "val").is_dir() else root).glob("*/scene_*/scan_*/*.png")):
        depth, mask = (photo.with_name(f"{photo.stem}_{part}.npy") for part in ("depth", "depth_mask"))
        if depth.is_file() and mask.is_file():
            items.append(FileItem(photo, {Task.DEPTH: partial(_depth_npy, depth, mask)}))
    return items


def _scannet(root: Path) -> list[FileItem]:
    return _pairs(
        list(root.glob("**/color/*.jpg")),
        lambda photo: photo.parent.parent / "depth" / f"{photo.stem}.png",
        partial(_depth_png, per_meter=1000.0),
    )


def _cityscapes(root: Path) -> list[FileItem]:
    def truth_of(photo: Path) -> Path:
        name = photo.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        return root / "gtFine" / "val" / photo.parent.name / name

    photos = list((root / "leftImg8bit" / "val").glob("*/*_leftImg8bit.png"))
    return _pairs(photos, truth_of, partial(_ids, table=_table(CITYSCAPES_IDS, void=range(34)), classes=CITYSCAPES))


def _camvid(root: Path) -> list[FileItem]:
    """The 701 stills with color labels, or the 11-class layout of SegNet (val and valannot, or images and labels)."""
    stills = list((root / "701_StillsRaw_full").glob("*.png"))
    if stills:
        labels = root / "LabeledApproved_full"
        return _pairs(
            stills,
            lambda photo: labels / f"{photo.stem}_L.png",
            partial(_colors, palette=CAMVID_COLORS, classes=CAMVID),
        )
    read = partial(_ids, table=_table({index: index for index in range(len(CAMVID))}, void=[11]), classes=CAMVID)
    for images, folder in (
        ("test", "testannot"),
        ("val", "valannot"),
        ("images", "labels"),
        ("val/images", "val/labels"),
    ):
        photos = [path for path in (root / images).glob("*") if path.suffix in (".png", ".jpg")]
        if photos and (root / folder).is_dir():
            truths = root / folder
            return _pairs(photos, lambda photo: truths / f"{photo.stem}.png", read)  # noqa: B023 - used at once
    return []


def _ade20k(root: Path) -> list[FileItem]:
    classes = _ade20k_classes(root)
    table = _table({index + 1: index for index in range(len(classes))}, void=[0])  # 0: none of the 150 classes
    return _pairs(
        list((root / "images" / "validation").glob("*.jpg")),
        lambda photo: root / "annotations" / "validation" / f"{photo.stem}.png",
        partial(_ids, table=table, classes=classes),
    )


def _ade20k_classes(root: Path) -> tuple[str, ...]:
    """The first name of each of the 150 classes, from the file of the data set."""
    path = root / "objectInfo150.txt"
    if not path.is_file():
        raise UsageError(f"{path}: missing", hint="it comes with ADEChallengeData2016; give that folder as the root")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    return tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines if line.strip())


def _table(ids: Mapping[int, int], void: Iterable[int] = ()) -> UInt8[ndarray, " 256"]:
    """Stored id to class; 255 and the ids of `void` are ignored, every other id is unknown."""
    table = np.full(256, _UNKNOWN, np.uint8)
    table[[*void, IGNORE_SEMANTIC]] = IGNORE_SEMANTIC
    for stored, index in ids.items():
        table[stored] = index
    return table


DATASETS: dict[str, Preset] = {
    "nyuv2": Preset(
        _nyu,
        "rgb_*.jpg and sync_depth_*.png (millimeters) in any folders",
        Task.DEPTH,
        crop=Crop.EIGEN,
        max_depth_m=10.0,
    ),
    "kitti": Preset(
        _kitti, "val_selection_cropped/image and .../groundtruth_depth", Task.DEPTH, crop=Crop.GARG, max_depth_m=80.0
    ),
    "diode": Preset(
        _diode,
        "val/*/scene_*/scan_*/*.png with _depth.npy and _depth_mask.npy",
        Task.DEPTH,
        min_depth_m=0.6,
        max_depth_m=350.0,
    ),
    "scannet": Preset(
        _scannet, "scene*/color/*.jpg and scene*/depth/*.png (millimeters)", Task.DEPTH, max_depth_m=10.0
    ),
    "cityscapes": Preset(_cityscapes, "leftImg8bit/val and gtFine/val", Task.SEMANTIC, lambda root: CITYSCAPES),
    "camvid": Preset(
        _camvid,
        "701_StillsRaw_full and LabeledApproved_full, or SegNet's test and testannot (val and valannot)",
        Task.SEMANTIC,
        lambda root: CAMVID,
    ),
    "ade20k": Preset(
        _ade20k, "images/validation, annotations/validation, objectInfo150.txt", Task.SEMANTIC, _ade20k_classes
    ),
}


CITYSCAPES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_IDS = {
    stored: index
    for index, stored in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
}
"""``labelIds`` to the 19 scored classes; every other id is ignored."""

CAMVID: tuple[str, ...] = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
"""The 11 classes of SegNet, which most papers score."""
CAMVID_COLORS = {
    (128, 128, 128): 0,  # Sky
    (128, 0, 0): 1, (64, 192, 0): 1, (0, 128, 64): 1, (64, 0, 64): 1, (192, 0, 128): 1,
    # Building Wall Bridge Tunnel Archway
    (192, 192, 128): 2, (0, 0, 64): 2,  # Column_Pole TrafficCone
    (128, 64, 128): 3, (128, 0, 192): 3, (192, 0, 64): 3,  # Road LaneMkgsDriv LaneMkgsNonDriv
    (0, 0, 192): 4, (64, 192, 128): 4, (128, 128, 192): 4,  # Sidewalk ParkingBlock RoadShoulder
    (128, 128, 0): 5, (192, 192, 0): 5,  # Tree VegetationMisc
    (192, 128, 128): 6, (128, 128, 64): 6, (0, 64, 64): 6,  # SignSymbol Misc_Text TrafficLight
    (64, 64, 128): 7,  # Fence
    (64, 0, 128): 8, (64, 128, 192): 8, (192, 128, 192): 8, (192, 64, 128): 8, (128, 64, 64): 8,
    # Car SUVPickupTruck Truck_Bus Train OtherMoving
    (64, 64, 0): 9, (192, 128, 64): 9, (64, 0, 192): 9, (64, 128, 64): 9,  # Pedestrian Child CartLuggagePram Animal
    (0, 128, 192): 10, (192, 0, 192): 10,  # Bicyclist MotorcycleScooter
}  # fmt: skip
"""The official 32 colors to SegNet's 11 classes; black is void."""
