"""What the page says beside its tables, so that no number is read for more than it is."""

from __future__ import annotations

from pipeline.config.plans import learns_from_web, replays
from pipeline.eval.report.results import Results


def title(results: Results) -> str:
    """Return what the experiment was, in a line: the web is named only where images came from it."""
    if learns_from_web(results.config):
        return "Learning new classes from the web, without forgetting"
    if replays(results.config):
        return "Learning new classes, with old ones replayed from the web"
    return "Learning new classes step by step, without forgetting"


def notes(results: Results) -> list[str]:
    """Return the sentences that stand under the main table."""
    config = results.config
    found = [_seeds(results), _budget(results)]
    if results.unseen:
        names = ", ".join(results.unseen)
        found.append(
            f"No validation mask shows {names}: without a ground-truth pixel a class is left out of every mean."
        )
    if config.experiment.chosen and replays(config):
        found.append(_replayed(results))
    return found


def _seeds(results: Results) -> str:
    drawn = ["the data set", *(["the crawl"] if results.uses_web else [])]
    if learns_from_web(results.config):
        drawn.append("the discriminator")
    parts = " and ".join(filter(None, [", ".join(drawn[:-1]), drawn[-1]]))
    are = "are one draw" if len(drawn) > 1 else "is one draw"
    if len(results.config.experiment.seeds) > 1:
        return f"± is the standard deviation over seeds, which vary training alone: {parts} {are}."
    return f"One seed: there is no spread to compare a difference with. Seeds would vary training alone; {parts} {are}."


def _budget(results: Results) -> str:
    own = [run.name for run in results.config.experiment.chosen if run.model_dump().get("train")]
    but = f", but for {', '.join(own)}, whose length or rates the configuration sets" if own else ""
    return (
        f"Equal budget means equal iterations of a step{but}: learning rates of parts of a network, frozen parts and "
        "the cost of an iteration are each method's own."
    )


def _replayed(results: Results) -> str:
    text = "Replay images are found by captions of step 0's images, so that they show classes of step 0 alone"
    return text + (": classes of later steps are never replayed." if results.steps > 1 else ".")
