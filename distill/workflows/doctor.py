"""Checks of this machine: packages, GPU, engines, codecs, extras, keys and network."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from distill.optional import switch_off_telemetry
from distill.runtime.cpu import usable_memory


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        area: machine, packages, gpu, engines, video, extras, keys or network.
        name: Name of the checked part.
        state: ``ok``, ``missing`` (optional), ``bad`` (needed), ``note`` (works, but could be better).
        value: Version, size or problem.
        hint: What to do about it.
    """

    area: str
    name: str
    state: str
    value: str
    hint: str = ""


_REQUIRED = (
    "torch", "torchvision", "lightning", "timm", "onnx", "onnxscript", "numpy", "cv2", "av", "PIL", "scipy",
    "webdataset", "safetensors", "pydantic", "yaml", "rich", "typer", "jaxtyping",
)  # fmt: skip
_DISTRIBUTION = {"cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml"}
_EXTRAS = {
    "cpu": (("onnxruntime",), "run ONNX files on the processor"),
    "gpu": (("onnxruntime-gpu",), "run ONNX files on an NVIDIA GPU"),
    "tensorrt": (("tensorrt",), "build and run TensorRT engines"),
    "openvino": (("openvino",), "run on Intel processors"),
    "gemini": (("google-genai",), "use the hosted Gemini image models"),
    "local": (("diffusers", "transformers", "accelerate", "peft"), "run image generators and specialists here"),
}
_NVIDIA = ("gpu", "tensorrt")
_HUB = "https://huggingface.co"
_GIB = 1024**3


def examine(*, network: bool = False) -> list[Finding]:
    """Run all checks, in the order in which they are shown."""
    from distill import __version__

    switch_off_telemetry()  # the checks import every package
    found = [Finding("machine", "distill", "ok", __version__), *_machine(), *_packages()]
    gpus = _gpus()
    has_gpu = any(finding.state == "ok" for finding in gpus)
    found += [*gpus, *_torch_devices(has_gpu), *_engines(), *_codecs(), *_extras(has_gpu), *_keys()]
    return [*found, _hub()] if network else found


def _machine() -> Iterator[Finding]:
    from distill.run_dir import machine

    facts = machine()
    python = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("machine", "python", "ok" if supported else "bad", python, "" if supported else "use 3.11 to 3.13")
    yield Finding("machine", "processor", "ok", f"{facts['processor']}, {facts['cores']} cores, {facts['system']}")
    memory = usable_memory()
    if memory:
        tight = memory < 4 * _GIB
        hint = "training needs about 4 GiB; lower the batch size" if tight else ""
        yield Finding("machine", "memory", "note" if tight else "ok", f"{memory / _GIB:.1f} GiB", hint)
    free = shutil.disk_usage(Path.cwd()).free
    tight = free < 5 * _GIB
    hint = "a thousand labeled photos take about 1 GiB" if tight else ""
    yield Finding("machine", "disk", "note" if tight else "ok", f"{free / _GIB:.1f} GiB free here", hint)
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        tight = size < _GIB // 4
        hint = "data loader workers need it; in Docker: --shm-size=2g" if tight else ""
        yield Finding("machine", "shared memory", "note" if tight else "ok", f"{size / _GIB:.1f} GiB", hint)


def _packages() -> Iterator[Finding]:
    for module in _REQUIRED:
        version = _version(_DISTRIBUTION.get(module, module))
        try:
            importlib.import_module(module)
        except Exception as error:  # a half-installed package raises anything, not only ImportError
            reason = str(error).split("\n")[0] or type(error).__name__
            name = _DISTRIBUTION.get(module, module)
            yield Finding(
                "packages", name, "bad", f"cannot be imported: {reason}", f"pip install --force-reinstall {name}"
            )
        else:
            yield Finding("packages", _DISTRIBUTION.get(module, module), "ok", version or "present")


def _gpus() -> list[Finding]:
    """NVIDIA GPUs that the driver reports."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return [Finding("gpu", "NVIDIA", "missing", "no driver found", "everything runs on the processor, slower")]
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]
    return [
        Finding("gpu", f"GPU {index}", "ok", f"{name}, {memory}, driver {driver}")
        for index, (name, memory, driver) in enumerate(rows)
    ]


def _torch_devices(has_gpu: bool) -> Iterator[Finding]:
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except Exception:  # already reported among the packages
        return
    if count:
        yield Finding("gpu", "torch", "ok", f"CUDA {torch.version.cuda}, {count} device(s)")
    elif has_gpu:
        yield Finding("gpu", "torch", "note", "does not see the GPU", "pip install torch with CUDA; see pytorch.org")


def _engines() -> Iterator[Finding]:
    version = _version("onnxruntime-gpu") or _version("onnxruntime")
    if version is None:
        yield Finding("engines", "ONNX Runtime", "missing", "not installed", "pip install 'distill[cpu]'")
    else:
        try:
            providers = importlib.import_module("onnxruntime").get_available_providers()
            names = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
            yield Finding("engines", "ONNX Runtime", "ok", f"{version}: {names}")
        except Exception as error:
            hint = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
            yield Finding("engines", "ONNX Runtime", "note", f"cannot be imported: {error}", hint)


def _codecs() -> Iterator[Finding]:
    try:
        import av
    except Exception:  # already reported among the packages
        return
    modes: dict[str, Literal["r", "w"]] = {"H.264 decoder": "r", "H.264 encoder": "w"}
    for name, mode in modes.items():
        try:
            codec = av.codec.Codec("h264", mode)
            yield Finding("video", name, "ok", codec.name)
        except Exception:
            hint = "pip install --force-reinstall av (its wheels carry FFmpeg)"
            yield Finding("video", name, "missing", "this FFmpeg has none", hint)


def _extras(has_gpu: bool) -> Iterator[Finding]:
    for extra, (packages, purpose) in _EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        absent = [package for package, version in versions.items() if version is None]
        if not absent:
            yield Finding("extras", extra, "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))
            continue
        if extra == "cpu" and _version("onnxruntime-gpu"):
            continue  # the two cannot be installed together
        if extra in _NVIDIA and not has_gpu:
            yield Finding("extras", extra, "missing", "of no use without an NVIDIA GPU")
            continue
        hint = f"pip install 'distill[{extra}]' to {purpose}"
        if extra == "gpu" and has_gpu and _version("onnxruntime"):
            hint = f"pip uninstall onnxruntime, then {hint}"
        yield Finding("extras", extra, "missing", f"without {', '.join(absent)}", hint)


def _keys() -> Iterator[Finding]:
    """Whether the environment has API keys; their values are never shown."""
    from distill.teachers.kinds import KINDS

    for kind in KINDS.values():
        if not kind.service:
            continue
        names = kind.config.model_fields["api_key_env"].default
        known = [name for name in names if os.environ.get(name)]
        hint = "" if known else f"export {names[0]}=... for the {kind.name} teacher"
        yield Finding("keys", kind.name, "ok" if known else "missing", known[0] if known else "no key set", hint)


def _hub() -> Finding:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(_HUB, method="HEAD"), timeout=8):
            return Finding("network", "hub", "ok", f"{_HUB} can be reached")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding("network", "hub", "missing", f"{_HUB}: {reason}", "train with student.pretrained=false")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


_MARKS = {"ok": "ok", "missing": "--", "bad": "!!", "note": " ~"}


@dataclass(frozen=True)
class DoctorReport:
    """Results of all checks."""

    findings: Sequence[Finding]

    @property
    def bad(self) -> list[Finding]:
        """Needed parts that do not work."""
        return [finding for finding in self.findings if finding.state == "bad"]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"ok": not self.bad, "findings": [asdict(finding) for finding in self.findings]}

    def to_text(self) -> str:
        """Format for a terminal."""
        lines, area = list[str](), ""
        width = max(len(finding.name) for finding in self.findings)
        for finding in self.findings:
            if finding.area != area:
                area = finding.area
                lines += ["", area]
            hint = f"   ({finding.hint})" if finding.hint else ""
            lines.append(f"  {_MARKS[finding.state]}  {finding.name:<{width}}  {finding.value}{hint}")
        bad = ", ".join(finding.name for finding in self.bad)
        return "\n".join([*lines, "", f"not working: {bad}" if bad else "all that distill needs works"]).lstrip("\n")
