"""The whole configuration, and its sections about the experiment; the others are in the files beside this one.

Defaults and docstrings here are what config.yaml says (`python -m pipeline.config write-defaults` writes it), so a
partial mapping is always enough.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from pipeline.config.captions import Captioner, Captioning, NounFilter, Nouns, OpenFlamingo
from pipeline.config.data import Datasets, MiniWeb, Teach
from pipeline.config.filters import Discriminator, FourierFilter, PseudoLabel, Selection
from pipeline.config.section import Section
from pipeline.config.training import Eval, Phase, Train
from pipeline.config.web import CrawlIngest, Safety

__all__ = [
    "Captioner",
    "Captioning",
    "Config",
    "CrawlIngest",
    "Datasets",
    "Discriminator",
    "Eval",
    "Experiment",
    "FourierFilter",
    "MiniWeb",
    "NounFilter",
    "Nouns",
    "OpenFlamingo",
    "Phase",
    "PseudoLabel",
    "Published",
    "Run",
    "Safety",
    "Section",
    "Selection",
    "Teach",
    "Train",
]


class StepOverride(Section):
    """What a run trains later steps with instead of `train.step`; what is not set stays."""

    epochs: int | None = Field(None, ge=1)
    """passes over the step's images"""
    batch_size: int | None = Field(None, ge=1)
    """images of an optimizer step"""
    lr: float | None = Field(None, gt=0)
    """initial learning rate"""
    iterations: int | None = Field(None, ge=0)
    """optimizer steps, 0: as many as the epochs have"""


class RunTrain(Section):
    """The part of the `train` section that a run may set for itself. Step 0 is shared, so it is no part of it."""

    step: StepOverride = StepOverride()
    """values over `train.step`"""


class Run(Section):
    """One row of the comparison: a method and where its training images come from."""

    method: str
    """name of a file in pipeline/methods"""
    variant: str = ""
    """tells runs of one method apart; the run's folder is <method>[+<variant>]"""
    new_images: Literal["dataset", "web"] = "dataset"
    """images of the new classes: dataset, or web"""
    filters: Literal["none", "noun", "fourier", "both"] = "both"
    """which filters web images pass: none, noun, fourier, both"""
    replay: bool = False
    """true: pseudo-labelled web images of old classes are replayed (web_wilss.md 5)"""
    replay_budget: int = Field(0, ge=0)
    """replay images of this run, 0: `pseudolabel.replay_budget`"""
    memory: int = Field(0, ge=0)
    """exemplars kept of earlier steps, images (ciss_methods.md 2.7)"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """settings of the method in this run, over those under `methods`"""
    train: RunTrain = RunTrain()
    """what this run trains later steps with, over `train.step`: {step: {epochs: 30, lr: 0.01}}"""

    @model_serializer(mode="wrap")
    def _without_overrides(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Results of runs that override nothing were recorded without these keys; they stay valid.
        dumped: dict[str, Any] = handler(self)
        for key, unset in (("train", self.train == RunTrain()), ("replay_budget", not self.replay_budget)):
            if unset:
                dumped.pop(key, None)
        return dumped

    @model_validator(mode="after")
    def _budget_is_used(self) -> Run:
        if self.replay_budget and not self.replay:
            raise ValueError(
                f"run `{self.name}` has replay_budget {self.replay_budget} and no replay; set replay: true"
            )
        return self

    @property
    def replay_table(self) -> str:
        """Name of the selection of replay images that this run learns from."""
        return f"replay_{self.replay_budget}" if self.replay_budget else "replay"

    def step_phase(self, shared: Phase) -> Phase:
        """Return how this run trains its later steps: the experiment's `train.step`, its own values over it.

        As in any phase, `iterations` decides the length if it is set, and epochs then divide the schedule.
        """
        return shared.model_copy(update=self.train.step.model_dump(exclude_none=True))

    @property
    def name(self) -> str:
        """Folder name of the run: the method, and its variant after a plus sign."""
        return f"{self.method}+{self.variant}" if self.variant else self.method


class Experiment(Section):
    """What is trained: the experiment's name, seeds and runs."""

    name: str = "mini"
    """results go to <results_dir>/<name>"""
    seeds: tuple[int, ...] = (0,)
    """one training per seed; the report shows mean and spread"""
    data_dir: str = "data"
    """folder of the web's pools, captions and saliency maps, shared by experiments"""
    results_dir: str = "results"
    """folder of what experiments make of it"""
    companion: str = ""
    """another experiment file whose results stand on the same report page, e.g. another task"""
    only: tuple[str, ...] = ()
    """names of the runs to make, empty: all; `--config only=plop` sets it"""
    runs: tuple[Run, ...] = (
        Run(method="ft"),
        Run(method="wilson", new_images="web", filters="none"),
        Run(method="web_wilss", new_images="web", filters="both", replay=True),
    )
    """rows of the comparison"""

    @field_validator("only", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _without_only(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As with Run: an experiment that makes all its runs is recorded as before.
        dumped: dict[str, Any] = handler(self)
        if not self.only:
            dumped.pop("only", None)
        return dumped

    @property
    def chosen(self) -> tuple[Run, ...]:
        """The runs to make and to show. Base recipes are shared by `runs`, whichever of them are chosen."""
        return tuple(run for run in self.runs if not self.only or run.name in self.only)

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        names = [run.name for run in self.runs]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"runs {twice} appear twice; give each its own `variant`")
        for name in self.only:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
                raise ValueError(f"only: no run `{name}`; did you mean `{close}`? runs: {', '.join(names)}")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError(f"seeds must be distinct and not empty, got {list(self.seeds)}")
        return self


class Published(Section):
    """What a paper reports for one run after the last step, mIoU in percent.

    Convention `plop`: old holds the classes of step 0 and the background, all everything; `mib`: neither counts
    the background; `wilson`: old leaves it out, all counts it.
    """

    method: str
    """method of the run"""
    variant: str = ""
    """variant of the run"""
    old: float | None = None
    """mean over the classes of step 0, percent"""
    new: float | None = None
    """mean over the classes of later steps, percent"""
    all: float | None = None
    """mean over all classes, percent"""
    avg: float | None = None
    """mean of `all` over the steps, percent"""
    convention: Literal["plop", "mib", "wilson"]
    """which classes the means count (ciss_methods.md 6, web_wilss.md 8)"""
    source: str
    """document that the row was read in"""
    note: str = ""
    """what to know about the row"""


class Config(Section):
    """The whole experiment."""

    experiment: Experiment = Experiment()
    datasets: Datasets = Datasets()
    teach: Teach = Teach()
    miniweb: MiniWeb = MiniWeb()
    crawl_ingest: CrawlIngest = CrawlIngest()
    captioning: Captioning = Captioning()
    fourier_filter: FourierFilter = FourierFilter()
    pseudolabel: PseudoLabel = PseudoLabel()
    train: Train = Train()
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """settings per method over what was published, e.g. {wilson: {alpha: 0.9}}; each method's file documents its own"""
    eval: Eval = Eval()
    published: tuple[Published, ...] = ()
    """what papers report for the runs; `make`'s table and the ledger print it beside ours"""

    def method_values(self, run: Run) -> dict[str, Any]:
        """Return what the configuration sets for a run's method: its section, and the run's own over it."""
        return {**self.methods.get(run.method, {}), **run.settings}
