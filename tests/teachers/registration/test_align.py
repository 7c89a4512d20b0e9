"""Labels are aligned by resize mode and registration, without new values."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.prompts.colors import palette
from distill.teachers.registration.align import (
    IDENTITY,
    RESIZE_MODES,
    Registration,
    decide,
    estimate_registration,
    warp_label,
)
from distill.teachers.registration.coarse_search import DRIFTS, CoarseSearch, RegistrationPair
from distill.teachers.registration.estimate import find_drift
from distill.teachers.registration.match_stats import AxisAlignedTransform, Distortion, MatchStats
from distill.teachers.registration.refine import refine_coarse, refine_final, side_alternatives


def semantic(ids: np.ndarray) -> Label:
    valid = ids != IGNORE_SEMANTIC
    return Label(Task.SEMANTIC, ids, valid, valid.astype(np.float32), classes=tuple("abcdefgh"))


def resized_onto(photo: np.ndarray, size_hw: tuple[int, int], resize_mode: str) -> np.ndarray:
    """What a generator does: resize by the rule, then crop or pad around the center."""
    height, width = photo.shape
    scale = (size_hw[0] / height, size_hw[1] / width)
    if resize_mode != "fill":
        scale = ((max if resize_mode == "cover" else min)(scale),) * 2
    matrix = np.array(
        [
            [scale[1], 0, size_hw[1] / 2 - scale[1] * width / 2 + 0.5 * scale[1] - 0.5],
            [0, scale[0], size_hw[0] / 2 - scale[0] * height / 2 + 0.5 * scale[0] - 0.5],
        ]
    )
    return cv2.warpAffine(photo, matrix, size_hw[::-1], flags=cv2.INTER_NEAREST, borderValue=IGNORE_SEMANTIC)


def blocks(size_hw: tuple[int, int]) -> np.ndarray:
    cells = np.random.default_rng(0).integers(0, 8, (6, 9)).astype(np.uint8)
    return cv2.resize(cells, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("resize_mode", RESIZE_MODES)
@pytest.mark.parametrize("photo_hw", [(1051, 1440), (300, 402), (900, 500)])
@pytest.mark.parametrize("answer_hw", [(880, 1216), (512, 512)])
def test_warping_inverts_the_canvas(resize_mode: str, photo_hw: tuple[int, int], answer_hw: tuple[int, int]) -> None:
    truth = blocks(photo_hw)
    placed = warp_label(semantic(resized_onto(truth, answer_hw, resize_mode)), photo_hw, resize_mode)
    height, width = placed.size_hw
    expected = truth[
        np.ix_(
            ((np.arange(height) + 0.5) * photo_hw[0] / height).astype(int),
            ((np.arange(width) + 0.5) * photo_hw[1] / width).astype(int),
        )
    ]
    inner = np.zeros(placed.size_hw, bool)
    inner[2:-2, 2:-2] = True
    kept = placed.valid & inner
    # Nearest sampling twice: borders between blocks may move by one pixel, half of the time.
    assert (placed.value == expected)[kept].mean() > 0.98
    if resize_mode != "cover":
        assert placed.valid[inner].all()


@settings(max_examples=60, deadline=None)
@given(
    photo_hw=st.tuples(st.integers(8, 200), st.integers(8, 200)),
    answer_hw=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    resize_mode=st.sampled_from(RESIZE_MODES),
)
def test_the_label_is_never_finer_than_the_image(
    photo_hw: tuple[int, int], answer_hw: tuple[int, int], resize_mode: str
) -> None:
    placed = warp_label(semantic(np.zeros(answer_hw, np.uint8)), photo_hw, resize_mode)
    scale = [answer_hw[i] / photo_hw[i] for i in (0, 1)]
    finest = max(scale) if resize_mode == "cover" else min(scale)
    assert all(placed.size_hw[i] <= max(1, photo_hw[i] * min(1, finest) + 0.5) for i in (0, 1))
    if finest >= 1:
        assert placed.size_hw == photo_hw


def test_warping_adds_no_new_values() -> None:
    depth = np.where(np.arange(100)[None] < 50, np.float32(1), np.float32(9)).repeat(80, axis=0)
    label = Label(Task.DEPTH, depth, np.ones(depth.shape, bool), np.ones(depth.shape, np.float32), DepthKind.METRIC)
    placed = warp_label(label, (60, 75))
    assert set(np.unique(placed.value[placed.valid])) == {1.0, 9.0}


def test_cropped_strips_are_invalid() -> None:
    placed = warp_label(semantic(np.zeros((100, 100), np.uint8)), (100, 200), "cover")
    assert placed.size_hw == (100, 200)
    assert placed.valid[:, 50:150].all()
    assert not placed.valid[:, :50].any()
    assert not placed.valid[:, 150:].any()
    assert (placed.value[:, :50] == IGNORE_SEMANTIC).all()
    assert not placed.confidence[:, :50].any()


def test_a_drift_is_corrected() -> None:
    truth = blocks((200, 300))
    registration = Registration(shift_px=(7.0, -5.0), zoom=1.04, aspect=1.01)
    vertical, horizontal = registration.scale_hw
    matrix = np.array(
        [
            [horizontal, 0, 150 - 5 - horizontal * 150 + 0.5 * horizontal - 0.5],
            [0, vertical, 107 - vertical * 99.5 - 0.5],
        ]
    )
    drifted = cv2.warpAffine(truth, matrix, (300, 200), flags=cv2.INTER_NEAREST, borderValue=IGNORE_SEMANTIC)
    mended = warp_label(semantic(drifted), (200, 300), "cover", registration)
    assert (mended.value == truth)[mended.valid].mean() > 0.985
    assert (warp_label(semantic(drifted), (200, 300)).value == truth).mean() < 0.9


def test_an_unknown_resize_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="tile"):
        warp_label(semantic(np.zeros((8, 8), np.uint8)), (8, 8), "tile")


def scene_pair(seed: int, size_hw: tuple[int, int] = (384, 512)) -> tuple[np.ndarray, np.ndarray]:
    """A photo with texture and shading, and flat colors painted over it."""
    dice = np.random.default_rng(seed)
    colors = palette(14, background=(120, 120, 120), seed=seed)
    flat = np.full((*size_hw, 3), 120, np.uint8)
    photo = cv2.resize(dice.normal(128, 25, (24, 32, 3)).astype(np.float32), size_hw[::-1])
    for number in range(14):
        corner = dice.integers(0, np.array(size_hw) - 90)
        high, wide = dice.integers(30, 110, 2)
        box = np.s_[corner[0] : corner[0] + high, corner[1] : corner[1] + wide]
        flat[box] = colors[number]
        shape = photo[box].shape
        photo[box] = dice.normal(0, 10, shape) + dice.integers(30, 225, 3) + np.linspace(0, 30, shape[1])[None, :, None]
    return np.clip(photo, 0, 255).astype(np.uint8), flat


def drawn(flat: np.ndarray, registration: Registration) -> np.ndarray:
    height, width = flat.shape[:2]
    vertical, horizontal = registration.scale_hw
    down, right = registration.shift_px
    matrix = np.array(
        [
            [horizontal, 0, width / 2 + right - horizontal * width / 2 + 0.5 * horizontal - 0.5],
            [0, vertical, height / 2 + down - vertical * height / 2 + 0.5 * vertical - 0.5],
        ]
    )
    return cv2.warpAffine(flat, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def apart_px(one: Registration, other: Registration, size_hw: tuple[int, int]) -> float:
    """The largest distance at the corners between two placements."""
    return max(
        abs(one.shift_px[i] - other.shift_px[i]) + abs(one.scale_hw[i] - other.scale_hw[i]) * size_hw[i] / 2
        for i in (0, 1)
    )


@pytest.mark.parametrize(
    "truth",
    [
        Registration(shift_px=(11.0, -9.0)),
        Registration(zoom=1.06),
        Registration(zoom=0.94, aspect=1.02),
        Registration(shift_px=(-6.3, 4.4), zoom=1.03, aspect=0.985),
    ],
    ids=["shift", "zoom", "zoom and aspect", "all"],
)
def test_a_drift_is_estimated(truth: Registration) -> None:
    photo, flat = scene_pair(1)
    found = estimate_registration(photo, drawn(flat, truth))
    assert found.accepted
    assert apart_px(found, truth, photo.shape[:2]) < 1.0
    assert found.score > 0.5


def test_an_aligned_image_is_not_moved() -> None:
    photo, flat = scene_pair(2)
    found = estimate_registration(photo, flat)
    assert found.accepted
    assert found.shift_px == (0.0, 0.0)
    assert found.zoom == found.aspect == 1.0


def test_a_large_image_that_fits_in_place_needs_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: object) -> None:
        raise AssertionError("searched")

    photo, flat = (cv2.resize(image, (1024, 768), interpolation=cv2.INTER_NEAREST) for image in scene_pair(2))
    monkeypatch.setattr("distill.teachers.registration.estimate.CoarseSearch", search)
    found = estimate_registration(photo, flat)
    assert found.accepted
    assert found.shift_px == (0.0, 0.0)
    assert found.residual_px < 1.0


@pytest.mark.parametrize("shift_px", [1, 2, 5])
def test_a_small_shift_of_a_large_image_is_corrected_or_reported(shift_px: int) -> None:
    photo, flat = (cv2.resize(image, (1024, 768), interpolation=cv2.INTER_NEAREST) for image in scene_pair(2))
    found = estimate_registration(photo, moved(flat, np.array([[1, 0, shift_px], [0, 1, 0]])))
    assert found.accepted
    left_px = apart_px(found, Registration((0.0, float(shift_px))), (768, 1024))
    assert left_px < 2 * found.residual_px + 0.3
    assert shift_px < 5 or left_px < 0.5


def test_an_image_of_another_photo_is_rejected() -> None:
    photo, _ = scene_pair(3)
    _, flat = scene_pair(4)
    found = estimate_registration(photo, flat)
    assert not found.accepted
    assert found.score < 0.5


TURNED, CROPPED = (0.0, 0.0, 0.0, 0.0, 0.05, -0.05, 0.0, 0.0), (0.0, 0.0, -0.2, -0.2, 0.0, 0.0, 0.0, 0.0)
SEEN = MatchStats(
    transform=AxisAlignedTransform((5.0, -3.0), (1.02, 1.02)),
    uncertainty_px=0.4,
    agreement=0.3,
    agreement_mirrored=-0.8,
    agreement_fine=0.4,
    agreement_at_identity=-0.7,
    border_px=2000.0,
    has_letterbox=False,
)


def moved(flat: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """The image under a 2 x 3 or 3 x 3 matrix."""
    size_wh = flat.shape[1], flat.shape[0]
    if matrix.shape == (3, 3):
        return cv2.warpPerspective(flat, matrix, size_wh, flags=cv2.INTER_NEAREST, borderMode=border)
    return cv2.warpAffine(flat, matrix.astype(np.float64), size_wh, flags=cv2.INTER_NEAREST, borderMode=border)


def about_center(turn_deg: float = 0.0, zoom: float = 1.0, shear: float = 0.0, wide: float = 1.0) -> np.ndarray:
    """Matrix about the center of an image of 600 x 800 px."""
    matrix = np.vstack([cv2.getRotationMatrix2D((400, 300), turn_deg, zoom), [0, 0, 1]])
    more = np.array([[wide, shear, 400 - 400 * wide - shear * 300], [0, 1, 0], [0, 0, 1]])
    product: np.ndarray = (more @ matrix)[:2]
    return product


TRAPEZOID = cv2.getPerspectiveTransform(
    np.array([[0, 0], [800, 0], [800, 600], [0, 600]], np.float32),
    np.array([[40, 0], [760, 0], [800, 600], [0, 600]], np.float32),
)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (about_center(turn_deg=2.0), "turned by about 2 degrees"),
        (about_center(turn_deg=-5.0), "turned by about 5 degrees"),
        (about_center(turn_deg=2.0, zoom=1.07), "turned by about 2 degrees"),  # without empty corners
        (about_center(shear=0.08), "sheared by about 8%"),
        (about_center(zoom=1.25), "crop of about 80%"),
        (about_center(zoom=0.8), "photo at about 80% of its size"),
        (about_center(wide=1.1), "stretched by about 10%"),
        (TRAPEZOID, "perspective"),
    ],
    ids=["turned 2", "turned 5", "turned and filled", "sheared", "crop", "shrunk", "stretched", "perspective"],
)
def test_distortions_are_rejected_by_name(matrix: np.ndarray, said: str) -> None:
    photo, flat = scene_pair(6, (600, 800))
    found = estimate_registration(photo, moved(flat, matrix))
    assert not found.accepted
    assert said in found.reason


@pytest.mark.parametrize(
    ("flip", "said"), [((1, -1), "mirrored"), ((-1, 1), "upside down"), ((-1, -1), "turned by 180 degrees")]
)
def test_flips_are_rejected_by_name(flip: tuple[int, int], said: str) -> None:
    photo, flat = scene_pair(7)
    found = estimate_registration(photo, np.ascontiguousarray(flat[:: flip[0], :: flip[1]]))
    assert not found.accepted
    assert said in found.reason


def test_a_bent_image_is_not_used_as_if_it_fitted() -> None:
    photo, flat = scene_pair(6, (600, 800))
    rows, columns = np.mgrid[:600, :800].astype(np.float32)
    right, down = 20 * np.sin(rows / 600 * 8), 20 * np.sin(columns / 800 * 8)
    bent = cv2.remap(flat, columns + right, rows + down, cv2.INTER_NEAREST, borderMode=1)
    found = estimate_registration(photo, bent)
    assert not found.accepted or found.residual_px > 4


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 1.0), (1.0, 0.3)], ids=["center", "corner", "side"])
def test_a_crop_to_90_percent_is_corrected(place: tuple[float, float]) -> None:
    photo, flat = scene_pair(6, (600, 800))
    top, left = round(60 * place[0]), round(80 * place[1])
    crop = cv2.resize(flat[top : top + 540, left : left + 720], (800, 600), interpolation=cv2.INTER_NEAREST)
    found = estimate_registration(photo, crop)
    truth = Registration(((30 - top) / 0.9, (40 - left) / 0.9), zoom=1 / 0.9)
    assert found.accepted
    assert apart_px(found, truth, (600, 800)) < 1.5


@pytest.mark.parametrize("shift", [(0, 30), (-30, 12)])
@pytest.mark.parametrize("border", [cv2.BORDER_REPLICATE, cv2.BORDER_WRAP, cv2.BORDER_CONSTANT])
def test_a_shift_is_corrected_whatever_fills_the_border(shift: tuple[int, int], border: int) -> None:
    photo, flat = scene_pair(8, (600, 800))
    found = estimate_registration(photo, moved(flat, np.array([[1, 0, shift[1]], [0, 1, shift[0]]]), border))
    assert found.accepted
    assert apart_px(found, Registration((float(shift[0]), float(shift[1]))), (600, 800)) < 1.0


@pytest.mark.parametrize("color", [0, 255, None], ids=["black", "white", "blurred"])
def test_letterbox_bars_are_corrected(color: int | None) -> None:
    photo, flat = scene_pair(7, (600, 800))
    shown = cv2.GaussianBlur(flat, (0, 0), 25) if color is None else np.full_like(flat, color)
    shown[30:570, 40:760] = cv2.resize(flat, (720, 540), interpolation=cv2.INTER_NEAREST)
    found = estimate_registration(photo, shown)
    assert found.accepted
    assert apart_px(found, Registration(zoom=0.9), (600, 800)) < 2.0


@pytest.mark.parametrize("left_px", [1.0, 2.0])
def test_a_drift_that_is_left_is_part_of_the_residual(left_px: float) -> None:
    """Too little to move the image, but not nothing."""
    still = replace(SEEN, transform=AxisAlignedTransform((left_px, 0.0)), moved_px=left_px)
    sure = replace(still, agreement_at_identity=SEEN.agreement_fine - 0.06)
    assert decide(sure, (768, 1024)).shift_px == (0.0, 0.0)
    assert decide(sure, (768, 1024)).residual_px > 0.9 * left_px
    hardly = replace(still, agreement_at_identity=SEEN.agreement_fine - 0.001)
    assert decide(hardly, (768, 1024)).residual_px < SEEN.uncertainty_px + 0.2


def test_displaced_parts_count_for_the_residual() -> None:
    assert decide(replace(SEEN, local_px=5.0, local_gain=0.15), (768, 1024)).residual_px > 4.5
    assert decide(replace(SEEN, local_px=2.0, local_gain=0.01), (768, 1024)).residual_px < 0.5


def test_an_image_without_borders_is_accepted_with_score_zero() -> None:
    photo, _ = scene_pair(5)
    found = estimate_registration(photo, np.full_like(photo, 40))
    assert found.accepted
    assert found.score == 0.0
    assert "no borders" in found.reason


def test_another_canvas_and_a_larger_photo() -> None:
    photo, flat = scene_pair(6)
    large = cv2.resize(photo, (1536, 1152), interpolation=cv2.INTER_CUBIC)
    truth = Registration(shift_px=(5.0, 7.0), zoom=0.97)
    found = estimate_registration(large, drawn(flat, truth)[:, 16:-16], "cover")
    assert found.accepted
    assert apart_px(found, truth, photo.shape[:2]) < 1.5


@pytest.mark.parametrize("resize_mode", ["contain", "cover"])
def test_bars_determine_the_end_of_the_photo(resize_mode: str) -> None:
    """A square answer with bars, although the rule may say that the photo covers the canvas: zoomed by 0.75."""
    photo, flat = scene_pair(7)
    letterboxed = cv2.copyMakeBorder(flat, 64, 64, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    found = estimate_registration(photo, letterboxed, resize_mode)
    assert found.accepted
    truth = IDENTITY if resize_mode == "contain" else Registration(zoom=384 / 512)
    assert apart_px(found, truth, (512, 512)) < 1.0


@pytest.mark.parametrize(
    ("change", "accepted", "realigned"),
    [
        ({}, True, True),
        ({"agreement": -0.8}, False, False),  # no better than turned over
        ({"transform": AxisAlignedTransform((0.1, 0.1), (1.0, 1.0))}, True, False),  # not worth moving
        ({"agreement_at_identity": 0.399}, True, False),  # as good where it should be
        ({"transform": AxisAlignedTransform((0.0, 0.0), (1.1, 1.0))}, False, False),  # stretched more than a drift does
        ({"transform": AxisAlignedTransform((0.0, 0.0), (0.8, 0.8))}, False, False),
        ({"distortion": Distortion(0.07, TURNED)}, False, False),
        ({"distortion": Distortion(0.03, TURNED)}, True, True),  # hardly clearer turned
        ({"distortion": Distortion(0.065, TURNED), "border_px": 900.0}, True, True),  # few borders fit a little better
        ({"distortion": Distortion(0.07, (0.0,) * 8)}, True, True),  # no distortion to speak of
        # Patterns fit themselves at other zooms.
        ({"distortion": Distortion(0.1, CROPPED), "border_px": 900.0}, True, True),
        ({"distortion": Distortion(0.1, CROPPED)}, False, False),
        ({"agreement": -0.7, "agreement_mirrored": -1.1, "local_gain": 0.06}, False, False),  # bent
        ({"agreement": -0.7, "agreement_mirrored": -1.1, "local_gain": 0.03}, True, True),
        # Bars have straight ends.
        ({"agreement": -0.7, "agreement_mirrored": -1.1, "local_gain": 0.06, "has_letterbox": True}, True, True),
        ({"local_gain": 0.12}, True, True),  # dents of contours that agree
        # Displaced by 20 px in a way that is not worth following: neither moved nor used.
        ({"agreement_at_identity": 0.36, "moved_px": 20.0}, False, False),
        ({"agreement": -0.5, "agreement_mirrored": 0.0, "flip": "mirrored"}, False, False),
        # Much is won by long borders, and little of what there is.
        ({"agreement_at_identity": 0.1, "transform": AxisAlignedTransform((20.0, 0.0), (1.0, 1.0))}, True, True),
        (
            {
                "agreement_at_identity": 0.1,
                "transform": AxisAlignedTransform((20.0, 0.0), (1.0, 1.0)),
                "border_px": 390.0,
            },
            True,
            False,
        ),
        (
            {"transform": AxisAlignedTransform((0.0, 0.0), (0.8, 0.8)), "has_letterbox": True},
            True,
            True,
        ),  # the bars say that it is so
    ],
)
def test_decisions_from_match_statistics(change: dict[str, object], accepted: bool, realigned: bool) -> None:
    found = decide(replace(SEEN, **change), (768, 1024))
    assert found.accepted is accepted
    assert bool(found.reason) is not accepted
    assert (found.scale_hw != (1.0, 1.0) or found.shift_px != (0.0, 0.0)) is realigned


SHORT = replace(
    SEEN,
    agreement=-0.8,
    agreement_mirrored=-0.9,
    agreement_fine=-0.5,
    agreement_at_identity=-0.95,
    border_px=300.0,
    moved_px=5.0,
)


def test_few_borders_are_not_moved_without_bars() -> None:
    left = decide(SHORT, (768, 1024))
    assert left.accepted
    assert left.shift_px == (0.0, 0.0)
    assert "too few borders" in left.reason
    assert left.residual_px > 4.5  # the drift that is left
    barred = decide(replace(SHORT, has_letterbox=True), (768, 1024))
    assert barred.accepted
    assert barred.shift_px == SHORT.transform.shift_px


def test_few_borders_that_fit_a_distortion_are_rejected() -> None:
    found = decide(replace(SHORT, distortion=Distortion(0.6, CROPPED)), (768, 1024))
    assert not found.accepted
    assert "crop of about 80%" in found.reason


def test_transforms_are_refined_together_as_one_by_one() -> None:
    photo, flat = scene_pair(2)
    pair = RegistrationPair(photo, flat, (1.0, 1.0))
    starts = [np.array([shift, -shift, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) for shift in (0.0, 2.0, 9.0)]
    together = refine_coarse(pair, pair.edge_points, starts, [])
    alone = [refine_coarse(pair, pair.edge_points, [start], [])[0] for start in starts]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.params - other.params).max() < 0.1
        assert abs(one.agreement - other.agreement) < 0.01


def test_registrations_round_trip_through_json() -> None:
    found = decide(SEEN, (768, 1024))
    assert Registration(**json.loads(json.dumps(asdict(found)))).scale_hw == pytest.approx((1.02, 1.02))


@pytest.mark.parametrize("size_hw", [(8, 8), (8, 300), (40, 33)])
def test_small_and_thin_images_do_not_crash(size_hw: tuple[int, int]) -> None:
    generated = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    assert 0 <= estimate_registration(generated, generated, "fill").score <= 1


@pytest.mark.parametrize("halves", ["left and right", "top and bottom"])
def test_a_symmetric_image_is_not_rejected(halves: str) -> None:
    size_hw = (256, 384)
    second = np.zeros(size_hw, bool)
    second[:, size_hw[1] // 2 :] = True
    if halves == "top and bottom":
        second = np.zeros(size_hw, bool)
        second[size_hw[0] // 2 :] = True
    pixels = np.random.default_rng(0).normal(60, 4, (*size_hw, 3)) + 120 * second[..., None]
    generated = np.where(second[..., None], (0, 0, 255), (255, 0, 0)).astype(np.uint8)
    assert estimate_registration(pixels.clip(0, 255).astype(np.uint8), generated).accepted


def test_all_positions_of_a_small_object_are_candidates() -> None:
    """It has few places, and the same ones at every zoom: places that differ only in name must not crowd out others."""
    photo, answer = np.full((480, 640, 3), 120, np.uint8), np.zeros((480, 640, 3), np.uint8)
    for left in (60, 84):
        photo[60:76, left : left + 16] = 200, 180, 90
    answer[60:76, 60:76] = 255, 0, 0
    pair = RegistrationPair(photo, answer, (1.0, 1.0))
    middle = pair.edge_points.position.mean(axis=0)
    search = CoarseSearch(pair)
    places = search.best(search.surfaces(pair.edge_points), pair.edge_points, 5, DRIFTS)[1]
    moves = [place[:2] + place[2:4] * middle for place in places]
    for there in ((0, 0), (0, 24)):
        assert min(np.abs(move - there).max() for move in moves) < 8


def test_similar_candidates_are_compared_at_fine_scale() -> None:
    photo: np.ndarray = np.full((480, 640, 3), 120, np.uint8)
    answer = np.zeros((480, 640, 3), np.uint8)
    thing: dict[str, Any] = {"axes": (9, 80), "angle": 0, "startAngle": 0, "endAngle": 360, "thickness": -1}
    cv2.ellipse(photo, (200, 200), color=(200, 180, 90), **thing)
    photo = cv2.GaussianBlur(photo, (0, 0), 1.2)
    cv2.ellipse(photo, (221, 200), color=(200, 180, 90), **thing)
    cv2.ellipse(answer, (200, 200), color=(255, 0, 0), **thing)
    seen = find_drift(photo, answer, (1.0, 1.0))
    assert seen is not None
    at = seen.transform.shift_px[1] + seen.transform.scale_hw[1] * (221 - 320)
    assert abs(at - (200 - 320)) < 1


def test_a_side_on_a_neighboring_edge_is_corrected() -> None:
    """A box shows a second face along one side, farther from its outline than a close look reaches."""
    photo, answer = np.full((480, 640, 3), 200, np.uint8), np.zeros((480, 640, 3), np.uint8)
    photo[150:330, 200:440] = 60, 80, 120
    photo[150:330, 433:440] = 110, 130, 170
    answer[150:330, 200:440] = 255, 0, 0
    pair = RegistrationPair(photo, answer, (1.0, 1.0))
    right_side = pair.edge_points.position[:, 1].max()
    # The outline's right side on the inner edge, the left one where it is.
    stretch = -7.0 / (2 * right_side)
    wrong = np.array([0.0, stretch * right_side, 0.0, stretch, 0.0, 0.0, 0.0, 0.0])
    held = refine_final(pair, pair.edge_points, wrong, [])
    assert abs(held.params[1] + held.params[3] * right_side + 7) < 1
    best = max(side_alternatives(pair, pair.edge_points, held, []), key=lambda fit: fit.agreement)
    assert best.agreement > held.agreement
    assert abs(best.params[1] + best.params[3] * right_side) < 0.5
