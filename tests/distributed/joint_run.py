"""Trains the steps of a job file, alone or under torchrun, and says what every process saw.

`python -m tests.distributed.joint_run JOBS RESULTS`; a job is a dict of config, recipe or method, protocol, list,
previous, out, and optionally `freeze_bn` over the configuration's, and `sigterm`, [process, iteration] at which that
process gets the signal and the step is run again.
"""

import dataclasses
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import distributed
from pipeline.config import parse_config
from pipeline.methods import Batch
from pipeline.models.network import Features
from pipeline.models.registry import Parts, register
from pipeline.models.small_cnn import SmallBody, SmallHead
from pipeline.train import engine
from pipeline.train.assemble import Previous, assemble_base, assemble_step
from pipeline.train.preemption import PreemptedError
from pipeline.train.shared_norm import SharedBatchNorm, check_shared, share_statistics
from tests.train.bench import move_from_teacher


class _Dropped(SmallBody):
    def forward(self, images: Tensor) -> Features:
        features = super().forward(images)
        return features._replace(body=nn.functional.dropout(features.body, 0.1, self.training))


@register("small_cnn_dropout")
def _small_cnn_dropout() -> Parts:
    body = _Dropped()
    return body, SmallHead(body.channels)


def step_of(job: dict[str, Any], out: Path) -> engine.Step:
    config, protocol, listed = parse_config(job["config"]), Path(job["protocol"]), Path(job["list"])
    if "recipe" in job:
        step = assemble_base(config, job["recipe"], 0, protocol, listed, out)
    else:
        before = Path(job["previous"])
        previous = Previous(before / "model.safetensors", before / "method_state.safetensors")
        step = assemble_step(config, job["method"], 0, protocol, listed, previous, out)
    # Here, so that norms of a step 0 from random weights may be frozen, which a user is refused.
    if "freeze_bn" in job:
        step.train = step.train.model_copy(update={"freeze_bn": job["freeze_bn"]})
        move_from_teacher(step.model)
    return step


def run(job: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train a step, twice if it is interrupted; return its losses, weights, statistics, thresholds and files."""
    losses: list[dict[str, float]] = []
    real, waiting = engine._iterate, list(job.get("sigterm", ()))

    def recorded(*arguments: Any) -> dict[str, float]:
        losses.append(real(*arguments))
        if waiting == [distributed.rank(), arguments[4]]:
            waiting.clear()
            os.kill(os.getpid(), signal.SIGTERM)
        return losses[-1]

    engine._iterate = recorded
    step, said = step_of(job, out), ""
    try:
        engine.train_step(step)
    except PreemptedError as notice:
        said, step = str(notice), step_of(job, out)
        engine.train_step(step)
    finally:
        engine._iterate = real
    digest = hashlib.sha256()
    for name, tensor in sorted({**step.model.state_dict(), **step.method.state()}.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    thresholds = step.method.state().get("thresholds", torch.zeros(0)).tolist()
    return {
        "losses": losses,
        "digest": digest.hexdigest(),
        "statistics": statistics(step),
        "thresholds": thresholds,
        "files": sorted(path.name for path in out.iterdir()),
        "said": said,
    }


def statistics(step: engine.Step) -> dict[str, list[float]]:
    """Return mean and length of every statistic of the norms and of the method: running means, importances."""
    buffers = {name: value for name, value in step.model.named_buffers() if not name.endswith("num_batches_tracked")}
    # Scores divide path integrals by squared movements, 0 for a weight that has not moved.
    known = {name: value for name, value in step.method.state().items() if "/score/" not in name}
    found = {name: value.double() for name, value in {**buffers, **known}.items()}
    return {name: [float(value.nanmean()), float(value.norm())] for name, value in found.items()}


def norms() -> dict[str, Any]:
    """Return how far norms over the processes' halves of a batch are from a plain norm over the whole, and refusals."""
    whole = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    aim = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    mine = slice(distributed.rank() * 2, distributed.rank() * 2 + 2)
    found = []
    for norm, part in ((nn.BatchNorm2d(3), slice(0, 4)), (SharedBatchNorm(3), mine)):
        x = whole.clone().requires_grad_()
        nn.init.constant_(norm.weight, 0.7)
        y = norm(x[part])
        (y * aim[part]).sum().backward()
        full = torch.zeros(4, 3, 5, 5).index_copy(0, torch.arange(4)[part], y.detach())
        found.append([full, x.grad, norm.weight.grad, norm.running_mean, norm.running_var])
    plain, shared = found
    shared[:3] = [distributed.total(value) for value in shared[:3]]
    refused = []
    for net in (nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.InstanceNorm2d(3)), nn.Sequential(_Foreign(3))):
        for check in (lambda net: check_shared(net), lambda net: share_statistics(net, torch.device("cpu"))):
            try:
                check(net)
            except ValueError as error:
                refused.append(str(error))
    share_statistics(net := nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.SyncBatchNorm(3))), torch.device("cpu"))
    check_shared(net)
    return {"off": max(float((a - b).abs().max()) for a, b in zip(plain, shared, strict=True)), "refused": refused}


class _Foreign(nn.BatchNorm2d):
    """Stands for a norm of another library."""


def in_float64() -> None:
    """Train in double precision, so that what rounding makes of two orders of summation does not hide an error."""
    torch.set_default_dtype(torch.float64)
    real = engine._on

    def widened(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
        for batch in real(batches, device):
            yield dataclasses.replace(batch, images=batch.images.double())

    engine._on = widened


def main() -> None:
    torch.set_num_threads(1)
    in_float64()
    jobs, results = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    with distributed.process_group():
        rank = distributed.rank()
        found: dict[str, Any] = {}
        for name, job in jobs.items():
            own = "both" if "sigterm" in job else f"process{rank}"  # an interrupted step goes on from shared files
            out = Path(job["out"]) / f"of{distributed.size()}" / own
            out.mkdir(parents=True, exist_ok=True)
            found[name] = run(job, out)
        if distributed.size() > 1:
            found["norms"] = norms()
        (results / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
