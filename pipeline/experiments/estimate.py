"""What an experiment will cost, before it is run: iterations, arithmetic, memory, and time at a stated speed.

The network runs on torch's meta device, where shapes are exact and nothing is computed. A method's own losses and
whatever the allocator adds are not counted, so take the memory as a lower bound.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config import Config, Run
from pipeline.datasets import reference
from pipeline.datasets.tasks import canonical_task, classes_per_step
from pipeline.methods import get, settings_of
from pipeline.methods.recipes import base_recipes
from pipeline.models import SegmentationModel, build_model
from pipeline.models.resize import upsample

_GIB = 2**30
_PASSES = 3
"""A backward pass costs about twice the forward pass."""
_PROBE = 2
"""Images in the probe: normalisation needs more than one."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one step of a run; `images` are those that an epoch draws, None where no reference count is known."""

    step: int
    images: int | None
    iterations: int | None
    parameters: int
    memory: float
    """Bytes in one process: weights, gradients, momentum, teacher, and saved activations of a micro-batch."""
    flops: float
    """Floating point operations per image, forward and backward of the student, forward of the teacher."""

    def hours(self, batch: int, tflops: float) -> float | None:
        """Return hours at a sustained speed in 10^12 operations per second."""
        return None if self.iterations is None else self.iterations * batch * self.flops / (tflops * 1e12) / 3600


def step_costs(config: Config, run: Run) -> list[StepCost]:
    """Return the cost of every step of a run, step 0 first."""
    data, train = config.datasets, config.train
    task = canonical_task(data.key, data.task)
    sizes = [len(classes) for classes in classes_per_step(data.key, task)]
    known = reference.TRAIN.get((data.name, task, data.setting))
    cls = get(run.method)
    settings = settings_of(run.method, config.method_values(run), data.key, task)
    costs = []
    for step in range(len(sizes)):
        phase = run.step_phase(train.step) if step else train.base
        heads = cls.heads(settings, sizes[: step + 1])
        options = json.dumps(train.backbone_options, sort_keys=True)
        parameters, flops, activations = _network(
            train.backbone, tuple(heads.sizes), heads.kind, options, data.train_size
        )
        teacher = bool(step) and cls.needs_teacher
        images = _drawn(config, run, step, known, sizes[step])
        # Saved activations are half as large in bfloat16; weights and optimiser stay in float32.
        share = 0.5 if train.precision == "bfloat16" else 1.0
        at_once = phase.batch_size / (train.world_size * train.gradient_accumulation)
        memory = 4.0 * parameters * (3 + teacher) + activations * share * at_once
        iterations = None if images is None else phase.iterations or phase.epochs * (images // phase.batch_size)
        costs.append(StepCost(step, images, iterations, parameters, memory, flops * (_PASSES + teacher)))
    return costs


def _drawn(config: Config, run: Run, step: int, known: Sequence[int] | None, n_new: int) -> int | None:
    """Return the images that an epoch draws: at most so many, where they are selected from the web or seen again."""
    if step and run.new_images == "web":
        images = config.fourier_filter.selection.budget * n_new
    elif known is None:
        return None
    elif step and get(run.method).sees == "all":
        images = min(sum(known[: step + 1]), reference.IMAGES[config.datasets.name, "train"])
    else:
        images = known[step]
    if not step or not (run.replay or run.memory):
        return images
    mixing = get(run.method).exemplar_mixing(settings_of(run.method, config.method_values(run)))
    if run.memory and not run.replay and mixing == "overwrite":
        return images
    second = run.memory + (run.replay_budget or config.pseudolabel.replay_budget) * run.replay
    # Replay images and exemplars take every second place of a batch (web_wilss.md 5.5).
    return 2 * (max(images, second) if config.train.replay_epoch == "larger" else images)


@cache
def _network(backbone: str, heads: tuple[int, ...], kind: str, options: str, size: int) -> tuple[int, float, float]:
    """Return (parameters, operations, bytes saved) of a network, measured once: runs have their networks in common."""
    with torch.device("meta"):
        model = build_model(backbone, heads, kind, json.loads(options))
    return sum(p.numel() for p in model.parameters()), *probe(model, size)


def probe(model: SegmentationModel, size: int) -> tuple[float, float]:
    """Return (operations, bytes saved for the backward pass) per image of a forward pass at size x size.

    Bytes are those of float32. A tensor that several layers save counts once; parameters do not count.
    """
    device = next(model.parameters()).device
    images = torch.empty((_PROBE, 3, size, size), device=device)
    kept: dict[tuple[int, int], torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # Kept alive until the end, so that no address is used twice.
        storage = tensor.untyped_storage()
        kept[(storage._cdata, storage.nbytes())] = tensor
        return tensor

    counter = FlopCounterMode(display=False)
    with saved_tensors_hooks(pack, lambda tensor: tensor), counter:
        output = upsample(model.train()(images).logits, images.shape[-2:])
    parameters = {p.untyped_storage()._cdata for p in model.parameters()}
    held = sum(nbytes for (address, nbytes) in kept if address not in parameters)
    held += output.untyped_storage().nbytes()
    return counter.get_total_flops() / _PROBE, held / _PROBE


def cost_lines(config: Config, tflops: float) -> list[str]:
    """Return a table of every run's steps and the total; a base step that runs share stands once."""
    head = (
        f"{'run':16s} {'step':>4s} {'images':>7s} {'iterations':>10s} {'parameters':>11s} {'memory':>9s} {'hours':>7s}"
    )
    lines = [f"{config.train.backbone}, crops of {config.datasets.train_size}, {config.train.precision}", head]
    total: float | None = 0.0
    recipes, bases = base_recipes(config), set[str]()
    for run in config.experiment.chosen:
        recipe = recipes[run.name]
        for cost in step_costs(config, run)[recipe in bases :]:
            batch = (run.step_phase(config.train.step) if cost.step else config.train.base).batch_size
            hours = cost.hours(batch, tflops)
            total = None if total is None or hours is None else total + hours
            lines.append(
                f"{run.name:16s} {cost.step:4d} {_or_dash(cost.images):>7s} {_or_dash(cost.iterations):>10s} "
                f"{cost.parameters:11,d} {cost.memory / _GIB:5.1f} GiB {'-' if hours is None else f'{hours:.2f}':>7s}"
            )
        bases.add(recipe)
    seeds = len(config.experiment.seeds)
    every = "-" if total is None else f"{total * seeds:.1f} hours"
    lines.append(f"in all {every} at {tflops:g} TFLOP/s sustained, {seeds} seeds; memory is a lower bound")
    return lines


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
