"""The model card states the facts of the spec."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distill.export.targets.huggingface import license_notices
from distill.export.targets.model_card import model_card_text, strictest_license_class, write_model_card
from distill.licenses import LicenseClass
from distill.spec import DepthSpec, InputSpec, NormalsSpec, SemanticSpec, StudentSpec


def spec_of(**more: object) -> StudentSpec:
    return StudentSpec(
        name="nano",
        backbone="mobilenetv4_conv_small_050",
        input=InputSpec(size_hw=(192, 256)),
        depth=DepthSpec(),
        normals=NormalsSpec(),
        semantic=SemanticSpec(classes=("road", "car")),
        **more,
    )


def test_the_card_names_every_license_with_class_and_terms(tmp_path: Path) -> None:
    spec = spec_of(
        licenses=("Apache-2.0", "CC-BY-NC-4.0", "restricted (Gemini API Additional Terms)"),
        terms={"restricted (Gemini API Additional Terms)": "https://ai.google.dev/gemini-api/terms"},
        provenance={"teachers": "a, b", "photos": "640"},
    )
    write_model_card(tmp_path / "card.md", spec, file="nano.onnx")
    text = (tmp_path / "card.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "other" and header["license_name"] == "labels-non-commercial"
    assert header["pipeline_tag"] == "depth-estimation"
    assert "| Apache-2.0 | commercial" in text and "| CC-BY-NC-4.0 | non-commercial" in text
    assert "https://ai.google.dev/gemini-api/terms" in text and "not stated" in text
    assert "Teachers: a, b." in text and "640" in text
    for name in ("depth", "normals", "semantic"):
        assert f"`{name}`" in text


def test_labels_without_a_license_are_unknown() -> None:
    assert strictest_license_class(spec_of()) is LicenseClass.UNKNOWN
    assert "| unknown | unknown: not stated" in model_card_text(spec_of(), file="nano.onnx")


def test_the_comparison_is_shown() -> None:
    rows = [{"task": "depth", "measure": "delta1", "reference": 0.98765432, "candidate": 0.98765, "passed": True}]
    assert "| depth | delta1 | 0.9877 | 0.9877 |" in model_card_text(spec_of(), file="nano.onnx", parity=rows)


def test_scores_are_metadata_that_the_hub_reads() -> None:
    hub = pytest.importorskip(
        "huggingface_hub", reason="huggingface_hub is not installed: pip install 'distill[local]'"
    )
    scores = {"depth_delta1": 0.91234567, "semantic_miou": 0.5, "normals_mean_deg": float("nan"), "score": 0.7}
    spec = spec_of(licenses=("MIT",))
    card = hub.ModelCard(model_card_text(spec, file="nano.onnx", scores=scores, license_file="LICENSES.md"))
    found = {(result.task_type, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert found == {("depth-estimation", "delta1"): 0.912346, ("image-segmentation", "miou"): 0.5}
    assert card.data.model_name == "nano" and card.data.pipeline_tag == "depth-estimation"
    assert card.data.license == "other" and card.data.license_link == "LICENSES.md"
    assert card.data.tags == ["distill", "depth", "normals", "semantic"]
    assert "against labels of the teachers" in card.text and "| depth_delta1 | 0.9123 |" in card.text


@pytest.mark.parametrize("text", ["a | b\n---\nlicense: mit", "<script>x</script>", "[x](http://host)", "![x][y]"])
def test_text_of_strangers_stays_text(text: str) -> None:
    spec = spec_of(licenses=(text,), terms={text: text}, provenance={"teachers": text})
    for page in (model_card_text(spec, file="nano.onnx"), license_notices(spec)):
        assert "<script" not in page and "](" not in page and "][" not in page
    page = model_card_text(spec, file="nano.onnx")
    assert yaml.safe_load(page.split("\n---\n")[0])["license"] == "other" and page.count("\n---\n") == 1
