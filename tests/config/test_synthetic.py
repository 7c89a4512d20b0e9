"""Config of the synthetic teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distill.config import dump_config, load_config
from distill.config.synthetic import PRESETS, FaultsConfig, SyntheticConfig
from distill.errors import UsageError
from distill.tasks import Task


def test_all_faults_are_off_by_default() -> None:
    off = {"jpeg_quality": 90, "jpeg_subsampling": "420", "output_size": "same", "resize_mode": "cover"}
    for name, value in FaultsConfig().model_dump().items():
        assert value == off.get(name, 0)
    assert PRESETS["none"] == FaultsConfig()


def test_presets_are_ordered() -> None:
    for name in FaultsConfig.model_fields:
        doses = [getattr(PRESETS[preset], name) for preset in ("none", "light", "moderate", "heavy")]
        if isinstance(doses[0], float):
            assert doses == sorted(doses) and doses[-1] > 0


def test_faults_are_a_name_or_a_mapping() -> None:
    assert load_config(SyntheticConfig, {"faults": "moderate"}).faults == PRESETS["moderate"]
    assert load_config(SyntheticConfig, {"faults": {"shift_px": 3}}).faults == FaultsConfig(shift_px=3)
    with pytest.raises(UsageError, match="no preset 'severe'; choose one of none, light, moderate, heavy"):
        load_config(SyntheticConfig, {"faults": "severe"})
    with pytest.raises(UsageError, match=r"unknown key 'faults\.shift'; did you mean 'shift_px'"):
        load_config(SyntheticConfig, {"faults": {"shift": 3}})
    with pytest.raises(UsageError, match=r"faults\.shift_px"):
        load_config(SyntheticConfig, {"faults": {"shift_px": 25}})


def test_resolved_config_round_trip() -> None:
    config = SyntheticConfig(faults="heavy", tasks=(Task.INSTANCE,), size_hw=(64, 96))
    assert load_config(SyntheticConfig, yaml.safe_load(dump_config(config))) == config


@pytest.mark.parametrize("name", ["synthetic", "synthetic_truth", "synthetic_hard"])
def test_shipped_configs_load(repository: Path, name: str) -> None:
    assert load_config(SyntheticConfig, repository / "configs" / "teachers" / f"{name}.yaml").scenes >= 100


def test_test_and_training_scenes_are_disjoint(repository: Path) -> None:
    folder = repository / "configs" / "teachers"
    training = load_config(SyntheticConfig, folder / "synthetic.yaml")
    truth = load_config(SyntheticConfig, folder / "synthetic_truth.yaml")
    assert truth.first >= training.first + 10 * training.scenes
