"""Which query plans an experiment asks the web for, and what its runs want from it."""

from __future__ import annotations

from pipeline.config.sections import Config


def learns_from_web(config: Config) -> bool:
    """Return whether a chosen run takes the images of new classes from the web."""
    return any(run.new_images == "web" for run in config.experiment.chosen)


def replays(config: Config) -> bool:
    """Return whether a chosen run replays web images of old classes."""
    return any(run.replay for run in config.experiment.chosen)


def replay_tables(config: Config) -> list[str]:
    """Return the names of the selections of replay images, one per budget that a chosen run has."""
    return sorted({run.replay_table for run in config.experiment.chosen if run.replay})


def has_images(config: Config) -> bool:
    """Return whether there are images of the data set, whose captions are replay queries and which the discriminator
    is fitted on: a model may be taught without any.
    """
    return config.datasets.name != "taught" or bool(config.teach.like)


def strictest(config: Config) -> str:
    """Return the combination of most filters that was computed: without images of the data set there is no score."""
    return "both" if has_images(config) else "noun"


def plans(config: Config, last_step: int) -> list[str]:
    """Return the names of an experiment's query plans.

    Candidates of new classes come with those of base classes, which train the discriminator that judges them;
    replay images are asked for by caption and need neither.
    """
    steps = range(1, last_step + 1)
    new = ["base"] * has_images(config) + [f"step{step}" for step in steps] if learns_from_web(config) else []
    return new + [f"replay{step}" for step in steps] * replays(config)


def mini_web(config: Config) -> bool:
    """Return whether the crawl goes to the embedded site, whose truth the report knows."""
    crawl = config.crawl_ingest
    return crawl.source == "openverse" and "miniweb.test" in crawl.api
