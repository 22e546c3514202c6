"""Where everything on disk lies. No other module spells a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Config


def image_address(tar: str | Path, image_id: str) -> str:
    """Return the address of an image in a shard, `<shard>.tar::<id>.jpg`, which `datasets.images` opens."""
    return f"{tar}::{image_id}.jpg"


def image_id_of(address: str) -> str:
    """Return the id of the image that an address of `image_address` names."""
    return address.rpartition("::")[2].removesuffix(".jpg")


@dataclass(frozen=True)
class Layout:
    """Every path of an experiment. Arguments may be Snakemake wildcards such as `"{step}"`."""

    data: str = "data"
    results: str = "results/mini"
    dataset_root: str = "data/minivoc"
    pool: str = "mini"
    captioner: str = "tiny"

    @classmethod
    def of(cls, config: Config) -> Layout:
        """Return the layout of a configuration."""
        experiment = config.experiment
        return cls(
            data=experiment.data_dir,
            results=f"{experiment.results_dir}/{experiment.name}",
            dataset_root=config.datasets.root,
            pool=config.crawl_ingest.pool,
            captioner=config.captioning.captioner.name,
        )

    def dataset_classes(self) -> str:
        """Class names, one per line in id order; the last file written when a data set is built."""
        return f"{self.dataset_root}/classes.txt"

    def saliency(self, name: str, model: str = "u2netp") -> str:
        """A soft saliency map `<image id>.png` of the data set, or `index.parquet`, the last file written."""
        return f"{self.dataset_root}/saliency/{model}/{name}"

    def site(self) -> str:
        """Folder of the mini web site."""
        return f"{self.data}/miniweb/{self.pool}"

    def truth(self) -> str:
        """Truth about the mini web's images, for the report alone."""
        return f"{self.site()}/truth.parquet"

    def web(self) -> str:
        """Folder of the web pool."""
        return f"{self.data}/web/{self.pool}"

    def queries(self, plan: str) -> str:
        """Queries of a plan: `base`, `step<k>` or `replay<k>`."""
        return f"{self.web()}/queries/{plan}.parquet"

    def shard(self, shard: str, suffix: str) -> str:
        """A shard's `tar`, `parquet` or `stats.json`; shards are named `<plan>-<number>`."""
        return f"{self.web()}/shards/{shard}.{suffix}"

    def pool_protocol(self, step: int | str) -> str:
        """The pool's copy of a step's protocol: pools are shared between experiments."""
        return f"{self.web()}/protocol/step{step}.json"

    def manifest(self, plan: str) -> str:
        """All rows of a plan's shards, with duplicates across shards marked."""
        return f"{self.web()}/manifests/{plan}.parquet"

    def card(self, name: str = "card.md") -> str:
        """The pool's card, or its attribution.csv."""
        return f"{self.web()}/{name}"

    def captions(self, shard: str) -> str:
        """Captions of a shard (`dataset` is the shard of the base images)."""
        return f"{self.web()}/captions/{self.captioner}/{shard}.parquet"

    def nouns(self, shard: str) -> str:
        """Nouns of a shard's captions."""
        return f"{self.web()}/nouns/{self.captioner}/{shard}.parquet"

    def protocol(self, step: int | str) -> str:
        """Images, classes and labels of a step."""
        return f"{self.results}/protocol/step{step}.json"

    def fourier(self, name: str) -> str:
        """`discriminator.safetensors` or `metrics.json`."""
        return f"{self.results}/fourier/{name}"

    def selection(self, step: int | str, name: str) -> str:
        """A table of a step: `noun_filter` or `noun_comparison` (also with `_replay`), `fourier`, `new_classes`
        or `replay` (`replay_<budget>` for runs with a budget of their own).
        """
        return f"{self.results}/selection/step{step}/{name}.parquet"

    def base(self, recipe: str, seed: int | str, name: str) -> str:
        """A file of a shared base step (step 0)."""
        return f"{self.results}/base/{recipe}/seed{seed}/{name}"

    def step(self, run: str, seed: int | str, step: int | str, name: str) -> str:
        """A file of an incremental step of a run."""
        return f"{self.results}/{run}/seed{seed}/step{step}/{name}"

    def summary(self) -> str:
        """The table of old, new and all."""
        return f"{self.results}/summary.csv"

    def report(self) -> str:
        """The page."""
        return f"{self.results}/report/index.html"
