"""Training of low-rank weights of an image editor, exact after a kill.

Everything random in a step follows from the seed and the number of the step, so a continued run repeats the steps
after its last checkpoint bit for bit (on a CPU; on a GPU as far as its kernels are deterministic).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from distill.errors import DistillError, UsageError
from distill.files import read_file, write_atomic
from distill.optional import require
from distill.runtime.progress import Reporter
from distill.teachers.local.pipelines import Pipeline
from distill.teachers.tuning.config import TuningConfig
from distill.teachers.tuning.edit_pairs import EditPair
from distill.teachers.tuning.families import Prompt, TuningFamily
from distill.teachers.tuning.pairs import TuningData
from distill.teachers.tuning.validation import Validation

ADAPTER = "adapter"
WEIGHTS = "pytorch_lora_weights.safetensors"
"""Name that the loaders of diffusers look for."""
CHECKPOINT, LOSSES = "checkpoint.pt", "losses.jsonl"
_CACHED_ENCODINGS = 256
_NAME = "tuned"


@dataclass
class TuningState:
    """What a checkpoint holds next to weights and optimizer.

    Attributes:
        step: Finished steps.
        best: Score of the adapter that is kept; infinity before the first validation.
        losses: Mean loss of each step.
        validations: Results by step.
    """

    step: int = 0
    best: float = math.inf
    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)


class Tuner:
    """One training in a folder.

    Args:
        config: Of the tuning.
        pipeline: Opened, without low-rank weights.
        family: Of the pipeline.
        data: Pairs.
        arguments: Of the pipeline call, which change prompts in some pipelines.
        out: Folder of the run.

    Raises:
        UsageError: peft is missing, or no layer has a name of `TuningConfig.modules`.
    """

    def __init__(
        self,
        config: TuningConfig,
        pipeline: Pipeline,
        family: TuningFamily,
        data: TuningData,
        arguments: dict[str, Any],
        out: Path,
    ) -> None:
        self.config, self.pipe, self.family, self.data, self.out = config, pipeline.pipe, family, data, out
        self.state = TuningState()
        self.network = getattr(self.pipe, family.network)
        self._add_adapter()
        self._trained = {name: one for name, one in self.network.named_parameters() if one.requires_grad}
        # Low-rank weights are trained in full precision; the frozen network keeps its own.
        for parameter in self._trained.values():
            parameter.data = parameter.data.float()
        self._optimizer = torch.optim.AdamW(list(self._trained.values()), lr=config.learning_rate)
        self._prompt = lru_cache(_CACHED_ENCODINGS)(lambda prompt: family.encode_prompt(self.pipe, prompt, arguments))
        self._empty: Prompt | None = None

    @property
    def num_trained(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self._trained.values())

    def run(self, validate: Callable[[], Validation], digest: str, reporter: Reporter) -> TuningState:
        """Train to the last step, from the checkpoint if there is one.

        Args:
            validate: Answers the held-out photos.
            digest: Of config and data, which a checkpoint must share.
            reporter: Receives the progress.

        Raises:
            UsageError: The checkpoint is of another config or other data.
            DistillError: The loss is not a number.
        """
        self._resume(digest)
        if not self.state.step and not self.state.validations:
            self._validate(validate, reporter)
            self._save(digest)
        with reporter.progress("tune", self.config.steps) as progress:
            progress.advance(self.state.step)
            while self.state.step < self.config.steps:
                loss = self._step()
                self.state.step += 1
                self.state.losses.append(loss)
                done, last = self.state.step, self.state.step == self.config.steps
                if last or done % self.config.validate_every == 0:
                    self._validate(validate, reporter)
                if last or done % self.config.checkpoint_every == 0 or done % self.config.validate_every == 0:
                    self._save(digest)
                progress.advance(note=f"loss {loss:.4f}")
        return self.state

    def _add_adapter(self) -> None:
        peft = require("peft", extra="local", why="tune a generator with low-rank weights")
        ends = self.config.modules or self.family.modules
        names = [
            name
            for name, module in self.network.named_modules()
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
            and any(name == end or name.endswith(f".{end}") for end in ends)
        ]
        if not names:
            raise UsageError(
                f"modules: no layer of the {self.family.network} has a name that ends with {', '.join(ends)}",
                hint="leave modules out for the layers of attention",
            )
        self.network.requires_grad_(False)
        torch.manual_seed(self.config.seed)
        self.network.add_adapter(
            peft.LoraConfig(
                r=self.config.rank, lora_alpha=self.config.rank, init_lora_weights="gaussian", target_modules=names
            ),
            adapter_name=_NAME,
        )

    def _step(self) -> float:
        """One step of the optimizer; returns the mean loss.

        Raises:
            DistillError: It is not a number.
        """
        number, size = self.state.step, self.config.batch_size
        self.network.train()
        warm = min(1.0, (number + 1) / max(1, self.config.warmup_steps))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warm
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for index in range(number * size, (number + 1) * size):
            rng = torch.Generator("cpu").manual_seed(_seed(self.config.seed, index))
            loss = self._loss(self.data.pair(index), rng)
            torch.autograd.backward(loss / size)
            total += float(loss.detach()) / size
        if not math.isfinite(total):
            raise DistillError(
                f"the loss of step {number + 1} is not a number", hint="lower learning_rate, and start again"
            )
        torch.nn.utils.clip_grad_norm_(list(self._trained.values()), self.config.max_grad_norm)
        self._optimizer.step()
        return total

    def _loss(self, pair: EditPair, rng: torch.Generator) -> Tensor:
        with torch.no_grad():
            target = self.family.encode_target(self.pipe, Image.fromarray(pair.target))
            photo = self.family.encode_photo(self.pipe, Image.fromarray(pair.photo))
            prompt = self._prompt(pair.prompt_spec.prompt)
            if self._empty is None:
                self._empty = self._prompt("")
        return self.family.loss(self.pipe, target, photo, prompt, self._empty, rng)

    def _validate(self, validate: Callable[[], Validation], reporter: Reporter) -> None:
        """Answer the held-out photos; keep the adapter if it is the best one."""
        self.network.eval()
        found = validate()
        self.state.validations.append({"step": self.state.step, **found.to_dict()})
        prompted, accepted = sum(found.prompted.values()), sum(found.accepted.values())
        why = f"; most often: {found.reasons.most_common(1)[0][0]}" if found.reasons else ""
        reporter.info(
            f"step {self.state.step}: {accepted} of {prompted} answers accepted, score {found.score:.3f}{why}"
        )
        if self.state.step and found.score <= self.state.best:
            self.state.best = found.score
            self.save_adapter(self.out / ADAPTER)

    def save_adapter(self, folder: Path) -> None:
        """Write the low-rank weights as the pipeline loads them; complete or absent."""
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".adapter.", dir=self.out))
        try:
            self.family.save(self.pipe, self._weights(), str(part))
            write_atomic(folder / WEIGHTS, (part / WEIGHTS).read_bytes())
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _weights(self) -> dict[str, Tensor]:
        peft = require("peft", extra="local", why="tune a generator with low-rank weights")
        weights = peft.get_peft_model_state_dict(self.network, adapter_name=_NAME)
        return {name: value.detach().cpu() for name, value in weights.items()}

    def _save(self, digest: str) -> None:
        """Write checkpoint and losses."""
        buffer = io.BytesIO()
        torch.save(
            {
                "digest": digest,
                "step": self.state.step,
                "best": self.state.best,
                "losses": self.state.losses,
                "validations": json.dumps(self.state.validations),
                "weights": {name: one.detach().cpu() for name, one in self._trained.items()},
                "optimizer": self._optimizer.state_dict(),
            },
            buffer,
        )
        write_atomic(self.out / CHECKPOINT, buffer.getvalue())
        rows = (json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(self.state.losses, start=1))
        write_atomic(self.out / LOSSES, "".join(f"{row}\n" for row in rows).encode())

    def _resume(self, digest: str) -> None:
        """Continue from the checkpoint of the folder, if there is one.

        Raises:
            UsageError: It is damaged, or of another config or other data.
        """
        path = self.out / CHECKPOINT
        if not path.is_file():
            return
        try:
            found = torch.load(io.BytesIO(read_file(path, path.stat().st_size)), weights_only=True, map_location="cpu")
            weights, is_ours = found["weights"], found["digest"] == digest
            known = weights.keys() == self._trained.keys() and all(
                value.shape == self._trained[name].shape for name, value in weights.items()
            )
        except Exception as error:  # whatever a damaged file makes the library raise
            raise UsageError(f"{path}: cannot be read", hint="remove it to start again") from error
        if not is_ours or not known:
            raise UsageError(
                f"{self.out}: holds the tuning of another config or of other data", hint="choose another --out"
            )
        with torch.no_grad():
            for name, value in weights.items():
                self._trained[name].copy_(value)
        self._optimizer.load_state_dict(found["optimizer"])
        self.state = TuningState(
            int(found["step"]), float(found["best"]), list(found["losses"]), json.loads(found["validations"])
        )


def _seed(seed: int, index: int) -> int:
    """Seed of the noise of one pair."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0noise\0{index}".encode()).digest()[:8]) >> 1
