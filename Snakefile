import re
from shlex import quote

from snakemake.utils import min_version

from pipeline.config import before_start
from pipeline.workflow import Workflow

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"


try:
    work = Workflow(config)
except ValueError as error:
    raise WorkflowError(str(error)) from None
paths = work.paths


wildcard_constraints:
    step=r"\d+",
    seed=r"\d+",
    plan=r"base|step\d+|replay\d+",
    shard=r"(base|step\d+|replay\d+)-\d{5}",
    replay=r"replay(_\d+)?",
    run="|".join(map(re.escape, work.runs)),
    recipe="|".join(work.recipes()),


onstart:
    if missing := before_start(work.config):
        raise WorkflowError("\n".join(missing))


onsuccess:
    from pipeline.experiments.farewell import farewell

    print(farewell(work.config), flush=True)


rule all:
    default_target: True
    input:
        paths.report(),
        work.cards(),


include: "rules/datasets.smk"
include: "rules/saliency.smk"
include: "rules/miniweb.smk"
include: "rules/crawl_ingest.smk"
include: "rules/captioning.smk"
include: "rules/fourier_filter.smk"
include: "rules/pseudolabel.smk"
include: "rules/train.smk"
include: "rules/eval.smk"


# Another experiment, such as the same methods on another task: its page is an input of this one's.
if work.companion:

    module companion:
        snakefile:
            "Snakefile"
        config:
            work.companion

    use rule * from companion exclude all, isolated_environment, minivoc, prepare, detect_saliency as companion_*
