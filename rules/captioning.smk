rule isolated_environment:
    localrule: True  # it downloads, and compute nodes often cannot
    input:
        work.isolated_lock,
    output:
        ".venv-openflamingo3b/.ready",
    log:
        "logs/isolated_environment.log",
    shell:
        "(python -m venv --clear .venv-openflamingo3b &&"
        " .venv-openflamingo3b/bin/python -m pip install --quiet --no-deps --require-hashes -r {input:q} &&"
        " ln -sfn {work.package:q} $(ls -d .venv-openflamingo3b/lib/python3*/site-packages)/pipeline &&"
        " touch {output:q}) > {log:q} 2>&1"


rule caption_dataset:
    input:
        environment=work.captioner_environment,
        protocol=paths.pool_protocol(0),
    output:
        paths.captions("dataset"),
    params:
        settings=work.settings("captioning.captioner"),
        python=work.captioner_python,
        version=work.version("captioning"),
    cache: work.cached
    threads: 2
    log:
        f"logs/{paths.web()}/captions/dataset.log",
    shell:
        "{params.python} -m pipeline.captioning caption --protocol {input.protocol:q} --settings {params.settings:q}"
        " --out {output:q} 2> {log:q}"


rule caption:
    input:
        tar=paths.shard("{shard}", "tar"),
        table=paths.shard("{shard}", "parquet"),
        environment=work.captioner_environment,
    output:
        paths.captions("{shard}"),
    params:
        settings=work.settings("captioning.captioner"),
        python=work.captioner_python,
        version=work.version("captioning"),
    priority: 8
    threads: 2
    log:
        f"logs/{paths.web()}/captions/{{shard}}.log",
    shell:
        "{params.python} -m pipeline.captioning caption --shard-tar {input.tar:q} --shard {input.table:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule nouns:
    input:
        captions=paths.captions("{name}"),
        vocabulary=work.vocabulary(),
    output:
        paths.nouns("{name}"),
    params:
        settings=work.settings("captioning.nouns", "captioning.vocabulary"),
        version=work.version("captioning"),
    log:
        f"logs/{paths.web()}/nouns/{{name}}.log",
    shell:
        "python -m pipeline.captioning nouns --captions {input.captions:q} --settings {params.settings:q}"
        " --out {output:q} 2> {log:q}"


rule noun_filter:
    input:
        manifest=paths.manifest("step{step}"),
        captions=lambda w: [paths.captions(s) for s in work.shards(f"step{w.step}")],
        nouns=lambda w: [paths.nouns(s) for s in work.shards(f"step{w.step}")],
        protocol=paths.protocol("{step}"),
        vocabulary=work.vocabulary(),
    output:
        paths.selection("{step}", "noun_filter"),
    params:
        settings=work.settings("captioning.noun_filter", "captioning.vocabulary"),
        version=work.version("captioning"),
        captions=lambda w: work.shard_files(paths.captions(f"step{w.step}-{{}}")),
        nouns=lambda w: work.shard_files(paths.nouns(f"step{w.step}-{{}}")),
    log:
        f"logs/{paths.results}/selection/step{{step}}/noun_filter.log",
    shell:
        "python -m pipeline.captioning filter --role new --manifest {input.manifest:q}"
        " --captions {params.captions} --nouns {params.nouns} --protocol {input.protocol:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


if work.has_images:

    rule noun_filter_replay:
        input:
            manifest=paths.manifest("replay{step}"),
            captions=lambda w: [paths.captions(s) for s in work.shards(f"replay{w.step}")],
            nouns=lambda w: [paths.nouns(s) for s in work.shards(f"replay{w.step}")],
            source_captions=paths.captions("dataset"),
            source_nouns=paths.nouns("dataset"),
            protocol=paths.protocol("{step}"),
            vocabulary=work.vocabulary(),
        output:
            paths.selection("{step}", "noun_filter_replay"),
        params:
            settings=work.settings("captioning.noun_filter", "captioning.vocabulary"),
            version=work.version("captioning"),
            captions=lambda w: work.shard_files(paths.captions(f"replay{w.step}-{{}}")),
            nouns=lambda w: work.shard_files(paths.nouns(f"replay{w.step}-{{}}")),
        log:
            f"logs/{paths.results}/selection/step{{step}}/noun_filter_replay.log",
        shell:
            "python -m pipeline.captioning filter --role replay --manifest {input.manifest:q}"
            " --captions {params.captions} --nouns {params.nouns} --source-captions {input.source_captions:q}"
            " --source-nouns {input.source_nouns:q} --protocol {input.protocol:q}"
            " --settings {params.settings:q} --out {output:q} 2> {log:q}"


else:

    # A model is taught without images: no caption of theirs to compare with.
    rule noun_filter_replay_by_class:
        input:
            manifest=paths.manifest("replay{step}"),
            captions=lambda w: [paths.captions(s) for s in work.shards(f"replay{w.step}")],
            nouns=lambda w: [paths.nouns(s) for s in work.shards(f"replay{w.step}")],
            protocol=paths.protocol("{step}"),
            vocabulary=work.vocabulary(),
        output:
            paths.selection("{step}", "noun_filter_replay"),
        params:
            settings=work.settings("captioning.noun_filter", "captioning.vocabulary"),
            version=work.version("captioning"),
            captions=lambda w: work.shard_files(paths.captions(f"replay{w.step}-{{}}")),
            nouns=lambda w: work.shard_files(paths.nouns(f"replay{w.step}-{{}}")),
        log:
            f"logs/{paths.results}/selection/step{{step}}/noun_filter_replay.log",
        shell:
            "python -m pipeline.captioning filter --role replay --manifest {input.manifest:q}"
            " --captions {params.captions} --nouns {params.nouns} --protocol {input.protocol:q}"
            " --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule noun_comparison:
    input:
        manifest=paths.manifest("step{step}"),
        captions=lambda w: [paths.captions(s) for s in work.shards(f"step{w.step}")],
        nouns=lambda w: [paths.nouns(s) for s in work.shards(f"step{w.step}")],
        protocol=paths.protocol("{step}"),
        vocabulary=work.vocabulary(),
    output:
        paths.selection("{step}", "noun_comparison"),
    params:
        settings=work.settings("captioning.noun_filter", "captioning.vocabulary"),
        version=work.version("captioning"),
    log:
        f"logs/{paths.results}/selection/step{{step}}/noun_comparison.log",
    shell:
        "python -m pipeline.captioning compare --role new --manifest {input.manifest:q}"
        " --captions {input.captions:q} --nouns {input.nouns:q} --protocol {input.protocol:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule noun_comparison_replay:
    input:
        manifest=paths.manifest("replay{step}"),
        captions=lambda w: [paths.captions(s) for s in work.shards(f"replay{w.step}")],
        nouns=lambda w: [paths.nouns(s) for s in work.shards(f"replay{w.step}")],
        source_captions=paths.captions("dataset"),
        source_nouns=paths.nouns("dataset"),
        protocol=paths.protocol("{step}"),
        vocabulary=work.vocabulary(),
    output:
        paths.selection("{step}", "noun_comparison_replay"),
    params:
        settings=work.settings("captioning.noun_filter", "captioning.vocabulary"),
        version=work.version("captioning"),
    log:
        f"logs/{paths.results}/selection/step{{step}}/noun_comparison_replay.log",
    shell:
        "python -m pipeline.captioning compare --role replay --manifest {input.manifest:q}"
        " --captions {input.captions:q} --nouns {input.nouns:q} --protocol {input.protocol:q}"
        " --source-captions {input.source_captions:q} --source-nouns {input.source_nouns:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"
