"""The sections of a configuration and what they hold by default; named after the stages.

Defaults here equal config.yaml (a test keeps them equal), so a partial mapping is always enough.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)


class Section(BaseModel):
    """Base of every section: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StepOverride(Section):
    """What a run trains later steps with instead of `train.step`; what is not set stays."""

    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    lr: float | None = Field(None, gt=0)
    iterations: int | None = Field(None, ge=0)


class RunTrain(Section):
    """The part of the `train` section that a run may set for itself. Step 0 is shared, so it is no part of it."""

    step: StepOverride = StepOverride()


class Run(Section):
    """One row of the comparison: a method and where its training images come from."""

    method: str
    variant: str = ""
    new_images: Literal["dataset", "web"] = "dataset"
    filters: Literal["none", "noun", "fourier", "both"] = "both"
    replay: bool = False
    replay_budget: int = Field(0, ge=0)
    """Replay images of this run, 0 for `pseudolabel.replay_budget`."""
    memory: int = Field(0, ge=0)
    settings: dict[str, Any] = {}
    train: RunTrain = RunTrain()

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

        Raises ValueError if the run sets epochs that the shared number of iterations would overrule.
        """
        own = self.train.step.model_dump(exclude_none=True)
        if "epochs" in own and own.get("iterations", shared.iterations):
            raise ValueError(
                f"run `{self.name}`: train.step.epochs is {own['epochs']}, but iterations is "
                f"{own.get('iterations', shared.iterations)} and decides; set the run's train.step.iterations to 0"
            )
        return shared.model_copy(update=own)

    @property
    def name(self) -> str:
        """Folder name of the run: the method, and its variant after a plus sign."""
        return f"{self.method}+{self.variant}" if self.variant else self.method


class Experiment(Section):
    """What is trained: the experiment's name, seeds and runs."""

    name: str = "mini"
    seeds: tuple[int, ...] = (0,)
    data_dir: str = "data"
    results_dir: str = "results"
    companion: str = ""
    only: tuple[str, ...] = ()
    """Names of the runs to make, empty for all; `--config only=plop` sets it."""
    runs: tuple[Run, ...] = (
        Run(method="ft"),
        Run(method="wilson", new_images="web", filters="none"),
        Run(method="web_wilss", new_images="web", filters="both", replay=True),
    )

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


class Datasets(Section):
    """Which data set, which task, which protocol, and the geometry of the transforms."""

    name: Literal["minivoc", "voc", "coco", "coco-voc", "ade", "own"] = "minivoc"
    root: str = "data/minivoc"
    task: str = "15-5"
    setting: Literal["overlap", "disjoint", "sequential", "partition"] = "overlap"
    lists: str = ""
    subset: bool = False
    train_size: int = Field(96, ge=16)
    eval_size: int = Field(96, ge=16)
    train_area: tuple[float, float] = (0.5, 2.0)
    train_crop: Literal["published", "scale", "ssul"] = "published"
    eval_crop: Literal["published", "full"] = "published"
    label_map: Literal["method", "plop", "mib", "wilson"] = "method"
    minivoc_seed: int = 7
    minivoc_train: int = Field(1500, ge=40)
    minivoc_val: int = Field(300, ge=20)

    @property
    def key(self) -> str:
        """Name under which tasks are looked up: own data carries its folder, where its tasks.yaml lies."""
        return f"own:{Path(self.root)}" if self.name == "own" else self.name

    @property
    def eval_side(self) -> int | None:
        """Side of the centre crop that is evaluated, None for whole images."""
        return self.eval_size if self.eval_crop == "published" else None


class MiniWeb(Section):
    """Size and noise of the embedded web site. Truth about it is read by the report alone."""

    seed: int = 11
    images_per_new_class: int = Field(240, ge=4)
    images_per_base_class: int = Field(90, ge=4)
    wrong_class: float = Field(0.5, ge=0, le=1)
    off_style: float = Field(0.45, ge=0, le=1)
    faults: float = Field(0.06, ge=0, le=1)
    duplicates: float = Field(0.05, ge=0, le=1)


class Safety(Section):
    """Score of what an image shows, by a model that a package carries; above the threshold it is refused."""

    model: Literal["none", "open_nsfw"] = "none"
    threshold: float = Field(0.8, ge=0, le=1)


class CrawlIngest(Section):
    """How the web is asked and how politely; applies to the mini web and to the open web alike."""

    pool: str = "mini"
    source: Literal["openverse", "commons", "flickr", "url_list", "folder", "authors"] = "openverse"
    api: str = "http://api.miniweb.test/v1/images/"
    path: str = ""
    replay_path: str = ""
    licences: tuple[str, ...] = ()
    user_agent: str = "web-continual-segmentation/0.1 (+https://example.org/crawler; research)"
    per_class: int = Field(200, ge=1)
    base_per_class: int = Field(60, ge=1)
    replay_queries: int = Field(240, ge=1)
    per_caption: int = Field(4, ge=1)
    shards: int = Field(2, ge=1)
    page_size: int = Field(20, ge=1)
    requests_per_second: float = Field(100.0, gt=0)
    connections_per_host: int = Field(8, ge=1)
    connections: int = Field(32, ge=1)
    retries: int = Field(3, ge=0)
    timeout: float = Field(5.0, gt=0)
    max_bytes: int = Field(5_000_000, ge=1)
    max_pixels: int = Field(16_000_000, ge=1)
    min_side: int = Field(48, ge=1)
    near_duplicate_bits: int = Field(4, ge=0, le=16)
    safety: Safety = Safety()

    @model_validator(mode="after")
    def _consistent(self) -> CrawlIngest:
        if self.connections_per_host > self.connections:
            raise ValueError(
                f"connections_per_host is {self.connections_per_host} and connections is {self.connections}; "
                "the first cannot exceed the second"
            )
        return self


class OpenFlamingo(Section):
    """Parts of an OpenFlamingo model, all of them local files; `model` of the captioner is the checkpoint."""

    vision: str = "ViT-L-14-quickgelu"
    vision_weights: str = ""
    language_model: str = ""
    cross_attention_every: int = Field(2, ge=1)
    decoder_layers: str = ""
    environment: Literal["main", "isolated"] = "main"


class Captioner(Section):
    """Where captions come from: `kind` names the reader, `model` the weights or the table."""

    kind: Literal["transformers", "openflamingo", "alt_text", "labels", "table"] = "transformers"
    name: str = "tiny"
    model: str = "pipeline/miniweb/captioner"
    revision: str = ""
    trust_remote_code: bool = False
    prompt: str = ""
    beams: int = Field(3, ge=1)
    max_new_tokens: int = Field(24, ge=1)
    batch_size: int = Field(32, ge=1)
    dtype: Literal["float64", "float32", "bfloat16", "float16", "auto"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    decode_threads: int = Field(2, ge=1)
    label_threshold: float = Field(0.15, ge=0, le=1)
    openflamingo: OpenFlamingo = OpenFlamingo()

    @model_validator(mode="after")
    def _consistent(self) -> Captioner:
        if self.trust_remote_code and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.revision):
            raise ValueError(
                f"trust_remote_code runs the model's own code, so revision must be a full commit hash, or the digest "
                f"of a local folder's code; got {self.revision!r}"
            )
        if self.kind == "openflamingo" and not self.openflamingo.language_model:
            raise ValueError("kind is openflamingo, so openflamingo.language_model must name a local folder")
        return self


class Nouns(Section):
    """Noun extraction from captions."""

    nn_only: bool = False


class NounFilter(Section):
    """Nearest-neighbour cosine similarity of caption nouns (ECCV 2024, section on caption filtering)."""

    similarity: Literal["embedding", "wordnet", "wordnet_hypernyms"] = "embedding"
    threshold: float = Field(0.6, ge=-1, le=1)
    thresholds: dict[str, float] = {}
    nouns: int = Field(2, ge=1)
    replay_rule: Literal["paper", "classes", "released"] = "paper"
    embedding_model: str = ""
    cache: str = "data/cache/embeddings"


class Captioning(Section):
    """Captions, nouns and the noun filter."""

    captioner: Captioner = Captioner()
    vocabulary: str = ""
    nouns: Nouns = Nouns()
    noun_filter: NounFilter = NounFilter()


class Discriminator(Section):
    """Fourier domain discriminator, trained once at step 0 (web_wilss.md 6.8)."""

    network: Literal["efficientnet_b0", "small"] = "small"
    amplitude: Literal["log", "linear"] = "log"
    resize: int = Field(72, ge=16)
    crop: int = Field(64, ge=16)
    epochs: int = Field(12, ge=1)
    batch_size: int = Field(64, ge=2)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    per_class: int = Field(500, ge=1)
    held_out_repeats: int = Field(3, ge=0)
    held_out_epochs: int = Field(6, ge=1)
    seed: int = 42

    @model_validator(mode="after")
    def _consistent(self) -> Discriminator:
        if self.crop > self.resize:
            raise ValueError(f"crop is {self.crop} and resize is {self.resize}; a crop must fit into the resized image")
        return self


class Selection(Section):
    """How many candidates are kept per class and by which rule (web_wilss.md 6.8, Selection)."""

    rule: Literal["threshold", "topk", "threshold_then_topk"] = "threshold_then_topk"
    budget: int = Field(50, ge=1)


class FourierFilter(Section):
    """Discriminator and selection."""

    discriminator: Discriminator = Discriminator()
    selection: Selection = Selection()


class PseudoLabel(Section):
    """Replay images: how many are kept and how they are labelled by the previous model."""

    replay_budget: int = Field(360, ge=1)
    per_query: int = Field(2, ge=1)
    max_side: int = Field(1024, ge=32)
    batch_size: int = Field(32, ge=1)


class Phase(Section):
    """Optimisation of one kind of step (web_wilss.md 7, ciss_methods.md 5)."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(24, ge=1)
    lr: float = Field(0.01, gt=0)
    iterations: int = Field(0, ge=0)


class Train(Section):
    """The engine: backbone, precision, and the optimisation of base and incremental steps."""

    backbone: str = "small_cnn"
    backbone_options: dict[str, Any] = {}
    pretrained: str = ""
    pretrained_sha256: str = ""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    processes: int = Field(1, ge=1)
    threads: int = Field(2, ge=1)
    workers: int = Field(0, ge=0)
    accumulate: int = Field(1, ge=1)
    norms: Literal["batch", "frozen"] = "batch"
    base: Phase = Phase(epochs=30, batch_size=24, lr=0.05, iterations=800)
    step: Phase = Phase(epochs=40, batch_size=24, lr=0.005, iterations=400)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    keep: Literal["last", "best"] = "last"
    checkpoint_every: int = Field(50, ge=1)
    tensorboard: bool = True


class Eval(Section):
    """Evaluation after each step."""

    batch_size: int = Field(32, ge=1)
    background_in_mean: bool = True
    overlays: int = Field(12, ge=0)


class Published(Section):
    """What a paper reports for one run after the last step, mIoU in percent.

    Convention `plop`: old holds the classes of step 0 and the background, all everything; `mib`: neither counts
    the background; `wilson`: old leaves it out, all counts it.
    """

    method: str
    variant: str = ""
    old: float | None = None
    new: float | None = None
    all: float | None = None
    avg: float | None = None
    convention: Literal["plop", "mib", "wilson"]
    source: str
    note: str = ""


class Config(Section):
    """The whole experiment."""

    experiment: Experiment = Experiment()
    datasets: Datasets = Datasets()
    miniweb: MiniWeb = MiniWeb()
    crawl_ingest: CrawlIngest = CrawlIngest()
    captioning: Captioning = Captioning()
    fourier_filter: FourierFilter = FourierFilter()
    pseudolabel: PseudoLabel = PseudoLabel()
    train: Train = Train()
    methods: dict[str, dict[str, Any]] = {}
    eval: Eval = Eval()
    published: tuple[Published, ...] = ()

    def method_values(self, run: Run) -> dict[str, Any]:
        """Return what the configuration sets for a run's method: its section, and the run's own over it."""
        return {**self.methods.get(run.method, {}), **run.settings}
