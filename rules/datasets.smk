# `local`: a data set stays on a file system, also where artifacts go to a store such as S3.
if work.config.datasets.name == "minivoc":

    rule minivoc:
        output:
            local(paths.dataset_classes()),
        params:
            settings=work.drawing_settings(),
            version=work.version("miniweb"),
        log:
            "logs/minivoc.log",
        shell:
            "python -m pipeline.miniweb minivoc --settings {params.settings:q} 2> {log:q}"


elif work.taught:

    # What the given model sees in the user's images stands in for masks.
    rule look:
        input:
            local(work.taught_from),
            local(paths.dataset_classes()),
        output:
            local(work.protocol_inputs[-1]),
        params:
            settings=work.teach_settings(),
            version=work.version("teach"),
        threads: 2
        log:
            f"logs/{paths.results}/look.log",
        shell:
            "python -m pipeline.teach.stage look --settings {params.settings:q} --out {output:q} 2> {log:q}"


elif work.config.datasets.name != "own":

    # Checks the user's download and builds what is derived from it; the class names are its last file.
    rule prepare:
        output:
            local(paths.dataset_classes()),
        params:
            dataset=work.config.datasets.name,
            root=work.config.datasets.root,
            subset="--subset" if work.config.datasets.subset else "",
        threads: 2
        log:
            f"logs/prepare_{work.config.datasets.name}.log",
        shell:
            "python -m pipeline.datasets prepare {params.dataset:q} --root {params.root:q} {params.subset} > {log:q} 2>&1"


rule protocol:
    input:
        local(work.protocol_inputs) if work.protocol_inputs else ancient(local(paths.dataset_classes())),
    output:
        paths.protocol("{step}"),
    params:
        # Of all that a shell command names, Snakemake's cache knows the parameters alone.
        step=lambda wildcards: wildcards.step,
        settings=work.protocol_settings(),
        version=work.version("datasets"),
    log:
        f"logs/{paths.results}/protocol/step{{step}}.log",
    shell:
        "python -m pipeline.datasets protocol --step {params.step:q} --settings {params.settings:q}"
        " --out {output:q} 2> {log:q}"


# The pool's own copy: what is shared between experiments must not depend on one of them.
use rule protocol as pool_protocol with:
    output:
        paths.pool_protocol("{step}"),
    log:
        f"logs/{paths.web()}/protocol/step{{step}}.log",
