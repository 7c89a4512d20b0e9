"""CVAT for images 1.1: a zip of ``annotations.xml`` with one mask per instance, and ``images/``.

A mask is its box and the run lengths of the box's rows, background first.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from distill.datasets.formats.base import IMAGES, ImportedSet, Options, count, label_at, labeled_samples, write_photo
from distill.datasets.formats.masks import bounding_box, check_count, instance_label, polygon_mask
from distill.datasets.formats.reading import MAX_ANNOTATION_BYTES, inside, load_photo, read_bytes, sample_keys
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.files import MAX_FILE_BYTES
from distill.images import Photo, read_photo
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.shards import Sample
from distill.tasks import Task

_FILE, _ARCHIVE = "annotations.xml", "cvat.zip"


class Cvat:
    """Reads and writes instances as masks; reads polygons, too."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write ``cvat.zip``, which CVAT imports into a new task or as the annotations of one."""
        counts: dict[str, int] = {}
        text = folder / _FILE
        with text.open("w", encoding="utf-8") as file, zipfile.ZipFile(folder / _ARCHIVE, "w") as archive:
            xml = XMLGenerator(file, "utf-8", short_empty_elements=True)
            xml.startDocument()
            _start(xml, "annotations")
            _element(xml, "version", "1.1")
            _write_labels(xml, shards.manifest.instance_classes)
            for sample in labeled_samples(shards, [Task.INSTANCE], options, counts):
                name, size_hw = write_photo(sample, folder / IMAGES, counts)
                _move(folder / IMAGES / name, archive, f"{IMAGES}/{name}")
                label = label_at(sample, Task.INSTANCE, shards, size_hw)
                size = {"width": str(size_hw[1]), "height": str(size_hw[0])}
                _start(xml, "image", {"id": str(counts["photos"] - 1), "name": name, **size})
                for number, class_name in (label.instance_classes if label is not None else {}).items():
                    mask = mask_of(label.instance_layers, number)  # type: ignore[union-attr]
                    _element(xml, "mask", "", _mask_entry(mask, class_name))
                    count(counts, "instances")
                xml.endElement("image")
                file.write("\n")
            xml.endElement("annotations")
            xml.endDocument()
            file.flush()
            _move(text, archive, _FILE)
        shutil.rmtree(folder / IMAGES, ignore_errors=True)
        return counts

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open ``annotations.xml``, its folder, or a zip of both."""
        source = _open_source(path, options)
        root = _parse(source.annotations, source.name)
        images, names = root.findall("image"), [element.text or "" for element in root.iterfind("meta//label/name")]
        shapes = [shape.get("label", "") for image in images for shape in image]
        classes = tuple(dict.fromkeys(filter(None, [*names, *shapes])))
        if not images:
            raise UsageError(
                f"{source.name}: has no images", hint="export the task as CVAT for images 1.1, with images"
            )
        keys = sample_keys([image.get("name", "") for image in images])

        def samples() -> Iterator[Sample]:
            for image in options.reporter.track(images, "import", len(images)):
                name = image.get("name", "")
                where = f"{source.name}: image {name}"
                photo = source.photo(name, keys[name], where)
                stated = image.get("height"), image.get("width")
                if stated != tuple(map(str, photo.size_hw)):
                    size = (
                        f"{photo.size_hw[1]}x{photo.size_hw[0]} px, and the annotations state {stated[1]}x{stated[0]}"
                    )
                    raise DistillError(f"{where}: has {size}", hint="give the photos that were annotated")
                yield options.sample(photo, _label(image, classes, photo.size_hw, where))

        return ImportedSet(samples(), len(images), (Task.INSTANCE,), instance_classes=classes)


def _move(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Move a file into the zip; with a fixed time, so that equal sets give equal bytes."""
    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member, path.open("rb") as file:
        shutil.copyfileobj(file, member)
    path.unlink()


def _start(xml: XMLGenerator, name: str, attributes: dict[str, str] | None = None) -> None:
    xml.startElement(name, AttributesImpl(attributes or {}))


def _element(xml: XMLGenerator, name: str, text: str, attributes: dict[str, str] | None = None) -> None:
    _start(xml, name, attributes)
    xml.characters(text)
    xml.endElement(name)


def _write_labels(xml: XMLGenerator, names: tuple[str, ...]) -> None:
    for name in ("meta", "task", "labels"):
        _start(xml, name)
    for label in names:
        _start(xml, "label")
        _element(xml, "name", label)
        _element(xml, "type", "mask")
        _element(xml, "attributes", "")
        xml.endElement("label")
    for name in ("labels", "task", "meta"):
        xml.endElement(name)


def _mask_entry(mask: Bool[ndarray, "h w"], class_name: str) -> dict[str, str]:
    left, top, width, height = bounding_box(mask)
    flat = mask[top : top + height, left : left + width].ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    runs = [0, *lengths] if flat.size and flat[0] else lengths
    box = {"left": str(left), "top": str(top), "width": str(width), "height": str(height)}
    return {
        "label": class_name,
        "source": "file",
        "occluded": "0",
        "rle": ", ".join(map(str, runs)),
        **box,
        "z_order": "0",
    }


# Reading


class _Source:
    """Annotations and photos in a folder."""

    def __init__(self, annotations: Path, images: Path) -> None:
        self.name, self._images = str(annotations), images
        self.annotations = read_bytes(annotations, MAX_ANNOTATION_BYTES)

    def photo(self, name: str, key: str, where: str) -> Photo:
        """The photo of an image element."""
        return load_photo(inside(self._images, name, where), key, name)


class _Archive(_Source):
    """Annotations and photos in a zip."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            self._members = {info.filename: info for info in self._zip.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DistillError(f"{path}: cannot be read: {error}", hint="export it again") from error
        self.name = str(path)
        if _FILE not in self._members:
            raise UsageError(f"{path}: has no {_FILE}", hint="export the task as CVAT for images 1.1, with images")
        self.annotations = self._read(_FILE, MAX_ANNOTATION_BYTES)

    def _read(self, name: str, limit: int) -> bytes:
        info = self._members[name]
        try:
            with self._zip.open(info) as member:
                data = member.read(limit + 1)
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
            raise DistillError(f"{self.name}: {name} cannot be read: {error}", hint="export it again") from error
        if len(data) > limit:
            raise DistillError(f"{self.name}: {name} has more than {limit / 1e6:.0f} MB")
        return data

    def photo(self, name: str, key: str, where: str) -> Photo:
        """The photo of an image element: members have folders in front of the name."""
        found = [member for member in self._members if f"/{member}".endswith(f"/{name}")]
        if len(found) == 1:
            return read_photo(self._read(found[0], MAX_FILE_BYTES), key=key, name=name)
        raise DistillError(f"{where}: is not once in the zip", hint="export the task with its images")


def _open_source(path: Path, options: Options) -> _Source:
    archive = path / _ARCHIVE if path.is_dir() and not (path / _FILE).is_file() else path
    if archive.is_file() and archive.suffix.lower() == ".zip":
        return _Archive(archive)
    file = path if path.is_file() else path / _FILE
    if not file.is_file():
        raise UsageError(f"{path}: has no {_FILE}", hint="give the zip of CVAT for images 1.1, or its unpacked folder")
    return _Source(file, options.images or file.parent / IMAGES)


def _parse(data: bytes, name: str) -> ElementTree.Element:
    """The XML of annotations; a document type, whose entities could grow without bounds, is refused."""
    try:
        text = data.decode("utf-8-sig")
        if "<!DOCTYPE" in text:
            raise DistillError(f"{name}: its XML declares a document type", hint="export it again")
        root = ElementTree.fromstring(text)  # a text: no other encoding can be declared
    except (ElementTree.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise DistillError(f"{name}: is no XML in UTF-8: {error}", hint="export it again") from error
    if root.tag != "annotations":
        raise UsageError(f"{name}: is not CVAT for images", hint="export the task as CVAT for images 1.1")
    return root


def _label(image: ElementTree.Element, classes: tuple[str, ...], size_hw: tuple[int, int], where: str) -> Label:
    check_count(len(image), where)
    masks, names = dict[int, ndarray](), dict[int, str]()
    for place, shape in enumerate(image):
        entry = f"{where}, shape {place + 1}"
        reader = _SHAPES.get(shape.tag)
        if reader is None:
            raise DistillError(f"{entry}: is a {shape.tag}", hint="keep masks and polygons only")
        try:
            masks[place + 1] = reader(shape, size_hw)
        except (ValueError, TypeError, OverflowError, IndexError) as error:
            raise DistillError(f"{entry}: the {shape.tag} is wrong: {error}", hint="export it again") from error
        names[place + 1] = shape.get("label", "")
    return instance_label(masks, names, size_hw, classes)


def _read_mask(shape: ElementTree.Element, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    left, top, width, height = (int(shape.get(name, "-1")) for name in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(width, height) < 1 or top + height > size_hw[0] or left + width > size_hw[1]:
        raise ValueError("its box is not in the photo")
    lengths = np.array([int(word) for word in shape.get("rle", "").split(",")])
    if (lengths < 0).any() or int(lengths.sum()) != width * height:
        raise ValueError("its run lengths do not fill its box")
    mask = np.zeros(size_hw, bool)
    inside_box = np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(height, width)
    mask[top : top + height, left : left + width] = inside_box
    return mask


def _read_polygon(shape: ElementTree.Element, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    points = np.array([[float(word) for word in pair.split(",")] for pair in shape.get("points", "").split(";")])
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise ValueError("it needs three or more points x,y")
    if np.abs(points).max() > 4 * max(size_hw):
        raise ValueError("it is far outside of the photo")
    return polygon_mask(points, size_hw)


_SHAPES = {"mask": _read_mask, "polygon": _read_polygon}
