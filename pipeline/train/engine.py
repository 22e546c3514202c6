"""The training loop of one step. It owns backward, precision, logging and resume, and names no method."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import distributed
from pipeline.artifacts import write_text
from pipeline.config import Phase, Train
from pipeline.distributed.whole_batch import WholeBatch
from pipeline.methods import Batch, Forward, Method
from pipeline.models import SegmentationModel, save_model
from pipeline.models.norm import keep_statistics
from pipeline.runtime.cost import Cost, write_cost
from pipeline.runtime.tensors import ready_to_save
from pipeline.runtime.threads import use_threads
from pipeline.train import resume
from pipeline.train.accumulation import add_gradients
from pipeline.train.best import Best, Score
from pipeline.train.data import BatchSource
from pipeline.train.preemption import PreemptedError, Preemption
from pipeline.train.runlog import RunLog, SilentLog
from pipeline.train.schedules import warm_poly, warmup_poly
from pipeline.train.shared_norm import check_shared, share_statistics


class DivergedError(ValueError):
    """A loss became infinite or NaN; the message names the terms and the images."""


@dataclass
class Step:
    """Everything one step trains with."""

    method: Method
    model: SegmentationModel
    teacher: SegmentationModel | None
    source: BatchSource
    train: Train
    phase: Phase
    folder: Path
    about: Mapping[str, Any]
    fingerprint: str
    score: Score | None = None
    """How epochs are ranked if the best one is kept; None keeps the last."""

    @property
    def iterations(self) -> int:
        """Length of the step: `iterations` of the configuration if set, else epochs times the epoch's length."""
        return self.phase.iterations or self.phase.epochs * self.source.batches_per_epoch

    def epoch(self, iteration: int) -> int:
        """Epoch of the schedule at an iteration (web_wilss.md 7.2), whatever the length of a data pass."""
        return iteration * self.phase.epochs // self.iterations


def train_step(step: Step) -> None:
    """Train, and leave model.safetensors, method_state.safetensors, log.csv, cost.json in `step.folder`.

    In a process group every process calls this; they train as one and process 0 writes. An interrupted call
    continues from its last saved state to the same weights, bit for bit on CPU. Raises DivergedError at the first
    non-finite loss, and PreemptedError after SIGTERM, with the state of the last iteration saved.
    """
    use_threads(step.train.threads)
    step.folder.mkdir(parents=True, exist_ok=True)
    device = distributed.device()
    _to_device(step, device)
    extra = step.method.attach(step.model)
    if extra is not None:
        extra.to(device)
    _join(step, extra, device)
    optimizer = _optimizer(step, extra)
    with Preemption() as preemption:
        start, cost = _begin(step, extra, optimizer)
        if start == 0 and step.teacher is not None:
            masks = step.source.calibration(ids=step.method.calibrates_on_ids)
            batches = preemption.watched(_on(masks, device))
            step.method.calibrate(batches, step.teacher)
            step.method.prepare(step.model, step.teacher, partial(_passes, step, preemption, device), step.phase.lr)
        best = Best(step.folder, step.score) if step.score else None
        if best is not None and start == 0:
            best.drop()
        log = _log(step, start)
        for iteration, batch in enumerate(_on(step.source.batches(start, step.iterations), device), start):
            terms = _iterate(step, extra, optimizer, batch, iteration)
            log.step(iteration, step.epoch(iteration), optimizer.param_groups[0]["lr"], terms)
            if best is not None and step.epoch(iteration + 1) > step.epoch(iteration):
                best.consider(step.epoch(iteration), step.model, step.method)
            asked, due = preemption.anywhere(), (iteration + 1) % step.train.checkpoint_every == 0
            if (asked or due) and iteration + 1 < step.iterations:
                log.flush()
                _save(step, extra, optimizer, iteration + 1, cost)
                if asked:
                    raise PreemptedError(
                        f"{step.folder}: {preemption.name}, state saved after {iteration + 1} iterations"
                    )
        log.close()
        if best is not None:
            step.method.load_state(best.restore(step.model), resumed=True)
        step.method.finish(step.model, step.teacher, partial(_passes, step, preemption, device, 1))
        _finish(step, cost, step.method.state())
        if best is not None:
            best.drop()


def _passes(step: Step, preemption: Preemption, device: torch.device, epochs: int) -> Iterator[Batch]:
    """Yield so many epochs of training batches, from the first."""
    batches = step.source.batches(0, epochs * step.source.batches_per_epoch)
    yield from preemption.watched(_on(batches, device))


def _join(step: Step, extra: nn.Module | None, device: torch.device) -> None:
    for module in _modules(step, extra):
        if step.train.freeze_bn:
            keep_statistics(module)
        elif distributed.size() > 1:
            share_statistics(module, device)
            check_shared(module)
        distributed.copy_from_main(module)
    distributed.seed_apart(step.method.info.seed)


def _modules(step: Step, extra: nn.Module | None) -> list[nn.Module]:
    return [step.model, *([] if extra is None else [extra])]


def _begin(step: Step, extra: nn.Module | None, optimizer: torch.optim.Optimizer) -> tuple[int, Cost]:
    parts = resume.Parts({"model": step.model, "extra": extra}, optimizer, step.method)
    facts = resume.load_state(step.folder / ".resume", parts, step.fingerprint)
    if facts is None:
        return 0, Cost()
    if not distributed.is_main():
        return int(facts["iteration"]), Cost()
    print(f"{step.folder}: continuing at iteration {facts['iteration']}", file=sys.stderr, flush=True)
    if facts["processes"] != distributed.size():
        note = f"{facts['processes']} processes before, {distributed.size()} now: equal to rounding, not bit for bit"
        print(f"{step.folder}: {note}", file=sys.stderr, flush=True)
    return int(facts["iteration"]), Cost(facts["cost"])


def _log(step: Step, start: int) -> RunLog | SilentLog:
    if not distributed.is_main():
        return SilentLog()
    return RunLog(step.folder, step.folder.as_posix(), step.iterations, start, step.train.tensorboard)


def _save(step: Step, extra: nn.Module | None, optimizer: torch.optim.Optimizer, iteration: int, cost: Cost) -> None:
    spent = distributed.joint_cost(cost.record(iteration * step.phase.batch_size, "images"))
    facts = {"fingerprint": step.fingerprint, "iteration": iteration, "cost": spent}
    parts = resume.Parts({"model": step.model, "extra": extra}, optimizer, step.method)
    resume.save_state(step.folder / ".resume", parts, facts)


def _iterate(
    step: Step, extra: nn.Module | None, optimizer: torch.optim.Optimizer, batch: Batch, iteration: int
) -> dict[str, float]:
    _set_rates(step, optimizer, iteration)
    step.method.train_mode(step.model)
    optimizer.zero_grad(set_to_none=True)
    parts = batch.split(step.train.gradient_accumulation)
    terms = add_gradients(parts, lambda part, whole: _losses(step, part, whole, iteration), _modules(step, extra))
    shown = distributed.average_terms(terms)
    _check_finite(step, batch, shown, iteration)
    named = [*step.model.named_parameters(), *([] if extra is None else extra.named_parameters("extra"))]
    distributed.average_gradients(parameter for _, parameter in named)
    step.method.observe(named)
    penalty = step.method.penalty(named)
    if penalty is not None:
        shown["penalty"] = penalty.detach()
        _check_finite(step, batch, shown, iteration)
        penalty.backward()  # of equal parameters: no process adds another gradient
    optimizer.step()
    return {name: float(term) for name, term in shown.items()}


def _losses(step: Step, batch: Batch, whole: WholeBatch, iteration: int) -> dict[str, Tensor]:
    with _autocast(step, batch.images.device):
        teacher = _teach(step, batch)
        student = step.model(batch.images)
        return step.method.losses(Forward(batch, student, teacher, step.epoch(iteration), whole))


def _teach(step: Step, batch: Batch) -> Any:
    if step.teacher is None:
        return None
    with torch.no_grad():
        return step.teacher(batch.images)


def _check_finite(step: Step, batch: Batch, terms: Mapping[str, Tensor], iteration: int) -> None:
    if bool(torch.isfinite(torch.stack([term.float() for term in terms.values()]).sum())):
        return
    shown = ", ".join(f"{name} {float(term):.4g}" for name, term in terms.items())
    lines = [f"iteration {iteration}", shown, *(i for ids in distributed.gather(batch.image_ids) for i in ids)]
    if distributed.is_main():
        save_model(step.folder / "diverged.safetensors", step.model, {**step.about, "iteration": iteration})
        write_text(step.folder / "diverged.txt", "\n".join(lines) + "\n")
    raise DivergedError(
        f"loss is not finite at iteration {iteration} of {step.folder} ({shown}); the batch's image ids are in "
        f"{step.folder / 'diverged.txt'}, the weights in diverged.safetensors; lower the learning rate or look at them"
    )


def _set_rates(step: Step, optimizer: torch.optim.Optimizer, iteration: int) -> None:
    if warm := step.method.warm_share():
        factor = warm_poly(iteration, step.iterations, warm * step.iterations)
    else:
        first = -(-step.method.constant_epochs() * step.iterations // step.phase.epochs)
        factor = warmup_poly(iteration, step.iterations, first)
    for group in optimizer.param_groups:
        group["lr"] = max(step.method.lr_floor(), group["initial_lr"] * factor)


def _optimizer(step: Step, extra: nn.Module | None) -> torch.optim.Optimizer:
    # Weight decay acts on every parameter, norms and biases included (web_wilss.md 7.1).
    groups = step.method.param_groups(step.model, extra, step.phase.lr)
    for group in groups:
        group["initial_lr"] = group["lr"]
    return torch.optim.SGD(
        groups,
        lr=step.phase.lr,
        momentum=step.train.momentum,
        nesterov=True,
        weight_decay=step.train.weight_decay,
    )


def _autocast(step: Step, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=step.train.precision == "bfloat16")


def _to_device(step: Step, device: torch.device) -> None:
    step.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if step.teacher is not None:
        step.teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        step.teacher.eval().requires_grad_(False)


def _on(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    for batch in batches:
        yield Batch(
            batch.images.to(device, memory_format=torch.channels_last),
            batch.masks.to(device),
            batch.labels.to(device),
            batch.image_ids,
            batch.roles,
            None if batch.saliency is None else batch.saliency.to(device),
        )


def _finish(step: Step, cost: Cost, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    from pipeline.artifacts import atomic_path

    spent = distributed.joint_cost(cost.record(step.iterations * step.phase.batch_size, "images"))
    if not distributed.is_main():
        return
    with atomic_path(step.folder / "method_state.safetensors") as temporary:
        save_file(ready_to_save(state), temporary)
    write_cost(step.folder / "cost.json", spent)
    save_model(step.folder / "model.safetensors", step.model, step.about)
    resume.drop_state(step.folder / ".resume")
