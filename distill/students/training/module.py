"""LightningModule with the training step, the validation step, the optimizer and its schedule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import save as encode_tensors
from torch import Tensor

from distill.config.train import TrainConfig
from distill.errors import DistillError
from distill.files import write_atomic
from distill.students.checkpoint import WEIGHTS
from distill.students.data.augment import augment
from distill.students.data.batch_targets import Batch, decode_batch
from distill.students.losses.terms import WeightFn, student_losses
from distill.students.model.backbone import memory_format
from distill.students.model.student import Student
from distill.students.training.callbacks.sample_images import SampleImageWriter
from distill.students.training.callbacks.validation_metrics import ValidationMetrics
from distill.students.training.noisy_labels import NoisyLabelFilter
from distill.students.training.optimizer import lr_factor, optimizer_groups
from distill.students.training.resume import ResumePosition
from distill.tasks import DepthKind, Task

NAN_BATCH = "nan_batch.safetensors"
_PAUSE_S, _PAUSE_STEPS = 30.0, 20.0
"""A step longer than both of these, in seconds and in average steps, does not count against the time limit."""


class StudentModule(L.LightningModule):
    """A student in training.

    Attributes:
        student: The network.
        noisy_labels: Running label errors.
        val_metrics: Scores of the current validation.
        sample_images: Sample images of the current validation.
        max_steps: Optimizer steps of the whole run.
        resume_position: Position of the run when it was started or resumed.
        elapsed_s: Training time so far, over all interruptions.
        batches_seen: Batches of this process so far, over all interruptions.
        last_losses: Terms and total of the last batch.
    """

    def __init__(
        self, student: Student, config: TrainConfig, *, max_steps: int, run_dir: Path, num_photos: int = 0
    ) -> None:
        super().__init__()
        self.student, self.config = student, config
        self.val_metrics = ValidationMetrics(student.spec)
        self.sample_images = SampleImageWriter(run_dir, student.spec, config.train.sample_images)
        self.max_steps, self.elapsed_s, self.batches_seen = max_steps, 0.0, 0
        self.resume_position, self._steps_before = ResumePosition(1), 0
        self.noisy_labels = NoisyLabelFilter(num_photos, student.spec.dense_tasks, config.loss.noisy_labels.sigma)
        self.last_losses: dict[str, Tensor] = {}
        self._run_dir = run_dir
        self._depth_kind = student.spec.depth.depth_kind if student.spec.depth else DepthKind.METRIC
        self._clock_s, self._usual_s = time.monotonic(), 0.0
        self._batch: dict[str, Tensor] = {}
        self._base_lrs: list[float] = []
        self._decays: list[float] = []
        self._order: torch.memory_format | None = None
        # Only the call is compiled, so that the weights keep their names.
        self._network = torch.compile(student.raw) if config.train.compile else student.raw

    # -- time -----------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Optimizer steps so far, in units of `max_steps`: as if the batch size had always been the current one."""
        return self.global_step - self._steps_before

    @property
    def progress(self) -> float:
        """Completed fraction of the run in [0, 1], by steps or by time, whichever is larger."""
        by_steps = self.steps / self.max_steps
        minutes = self.config.train.minutes
        return min(1.0, max(by_steps, self.elapsed_s / (60 * minutes) if minutes else 0.0))

    @property
    def position(self) -> tuple[int, int]:
        """(completed epochs, completed batches of the next one), by the batches that were seen.

        Lightning's own count is one epoch behind after a run was resumed twice at the end of an epoch.
        """
        start = self.resume_position
        return divmod(self.batches_seen - start.offset, start.batches_per_epoch)

    @property
    def started_epochs(self) -> int:
        """Number of epochs of which at least one batch was seen."""
        epochs, batches = self.position
        return epochs + (batches > 0)

    def on_train_start(self) -> None:
        """Start the clock; loading and validation before the first step do not count."""
        self._clock_s = time.monotonic()

    def on_train_epoch_start(self) -> None:
        """Choose this epoch's shuffle."""
        loader: Any = self.trainer.train_dataloader
        epoch, batch = self.position
        loader.batch_sampler.set_epoch(epoch, skip=batch)

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Set the learning rates by progress; see `lr_factor`."""
        factor = lr_factor(self._shared_progress(), self.config.optim.warmup)
        optimizer: Any = self.optimizers()
        for group, base, decay in zip(optimizer.param_groups, self._base_lrs, self._decays, strict=True):
            # A resumed optimizer state has the weight decay of the earlier run; the config may have another one.
            group["lr"], group["weight_decay"] = base * factor, decay

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Advance the clock."""
        now_s = time.monotonic()
        took_s, self._clock_s = now_s - self._clock_s, now_s
        if took_s > max(_PAUSE_S, _PAUSE_STEPS * self._usual_s) and self._usual_s:
            took_s = self._usual_s  # the process was suspended (closed lid, scheduler, Ctrl-Z)
        self._usual_s = 0.9 * self._usual_s + 0.1 * took_s if self._usual_s else took_s
        self.elapsed_s += took_s

    def _shared_progress(self) -> float:
        """Progress by the first process's clock, so that all processes have the same learning rate."""
        if self.config.train.minutes is None or self.trainer.world_size == 1:
            return self.progress
        return float(self.trainer.strategy.broadcast(self.progress))

    # -- learning -------------------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The total loss of one batch."""
        self._batch = batch
        generator = self._generator()
        torch.manual_seed(generator.initial_seed())  # dropout must be repeatable as well
        prepared = augment(self._decode_batch(batch), self.config.augment, self._depth_kind, generator)
        raw = self._raw(prepared)
        row, column = torch.randint(self.config.loss.stride, (2,), generator=generator).tolist()
        with torch.autocast(self.device.type, enabled=False):
            losses = student_losses(
                self.student, raw, prepared, self.config.loss, (row, column), self._weight_fn(batch["row"])
            )
        total = torch.stack(list(losses.values())).sum()
        self.last_losses = {name: loss.detach() for name, loss in losses.items()} | {"loss": total.detach()}
        if not torch.isfinite(total):
            self._stop_at_nan("the loss")
        self.batches_seen += 1  # not in a hook, since callbacks that save the state run before it
        return total

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradient; stop if it is not finite, before it reaches the weights."""
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.config.optim.clip_norm)
        # Scaled float16 gradients overflow occasionally; the scaler skips such a step.
        if not torch.isfinite(norm) and self.trainer.precision != "16-mixed":
            self._stop_at_nan("the gradient")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with the groups of `optimizer_groups`."""
        config = self.config.optim
        arguments = optimizer_groups(self.student, config)
        self._base_lrs = [float(group["lr"]) for group in arguments]
        self._decays = [float(group["weight_decay"]) for group in arguments]
        return torch.optim.AdamW(arguments, fused=True)

    # -- watching -------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Reset the scores."""
        self.val_metrics.reset(self.device)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add the final values of one batch to the scores."""
        prepared = self._decode_batch(batch)
        raw = self._raw(prepared)
        with torch.autocast(self.device.type, enabled=False):
            outputs = self.student.postprocess(raw, self.student.size_hw)
            self.val_metrics.update(outputs, prepared)
        if self.global_rank == 0:
            self.sample_images.add(batch, outputs)

    def sync_metrics(self) -> None:
        """Add up the scores of all processes."""
        if self.trainer.world_size > 1:
            for sums in self.val_metrics.sums():
                torch.distributed.all_reduce(sums)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add student, spec and progress in plain types, which load without executing code."""
        checkpoint["distill"] = {
            "student": self.student.config.model_dump_json(),
            "spec": self.student.spec.to_json(),
            "elapsed_s": self.elapsed_s,
            "batches_seen": self.batches_seen,
            "threads": torch.get_num_threads(),
            "label_errors": self.noisy_labels.errors,
            **self.resume_position.to_values(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore clock and counts."""
        self.elapsed_s, self.batches_seen = checkpoint["distill"]["elapsed_s"], checkpoint["distill"]["batches_seen"]
        errors = checkpoint["distill"]["label_errors"]
        if errors.shape == self.noisy_labels.errors.shape:  # otherwise they belong to other photos
            self.noisy_labels.errors = errors
        self._steps_before = checkpoint["global_step"] - self.resume_position.step

    # -- inside ---------------------------------------------------------------------------------------------------

    def _decode_batch(self, batch: dict[str, Tensor]) -> Batch:
        loss = self.config.loss
        tasks: tuple[Task, ...] = self.student.spec.tasks
        return decode_batch(
            batch,
            tasks,
            self._depth_kind,
            use_confidence=loss.use_confidence,
            use_quality=loss.use_quality and self.training,
        )

    def _weight_fn(self, rows: Tensor) -> WeightFn | None:
        """Weights by the noisy-label filter; None if it is off."""
        if self.config.loss.noisy_labels.sigma == 0:
            return None
        active = self.progress >= self.config.loss.noisy_labels.start
        return lambda task, errors: self.noisy_labels.weights(task, rows, errors, active=active)

    def _raw(self, batch: Batch) -> dict[Task, Tensor]:
        """Raw maps in float32: in bfloat16 the products that follow would round depth to 0.4 %."""
        if self._order is None:
            self._order = memory_format(self.student, batch.image.device)
        raw = self._network(batch.image.contiguous(memory_format=self._order))
        return {task: value.float() for task, value in raw.items()}

    def _generator(self) -> torch.Generator:
        """Random generator of this batch, so that a resumed run repeats it."""
        seed = (self.config.train.seed * 1_000_003 + self.batches_seen) * 1_024 + self.global_rank
        return torch.Generator().manual_seed(seed)

    def _stop_at_nan(self, what: str) -> None:
        path = self._run_dir / NAN_BATCH
        write_atomic(path, encode_tensors({name: tensor.cpu().contiguous() for name, tensor in self._batch.items()}))
        kept = "the last good weights are kept; " if (self._run_dir / WEIGHTS).is_file() else ""
        raise DistillError(
            f"{what} is not a finite number at step {self.global_step}; its batch is saved in {path}",
            hint=f"{kept}lower optim.lr, or check the labels of that batch",
        )
