rule select_replay:
    input:
        nouns=paths.selection("{step}", "noun_filter_replay"),
        manifest=paths.manifest("replay{step}"),
    output:
        paths.selection("{step}", "{replay}"),
    params:
        settings=lambda w: work.replay_settings(w.replay),
        version=work.version("pseudolabel"),
        shards=f"{paths.web()}/shards",
    log:
        f"logs/{paths.results}/selection/step{{step}}/{{replay}}.log",
    shell:
        "python -m pipeline.pseudolabel select-replay --noun-filter {input.nouns:q}"
        " --manifest {input.manifest:q} --shards-dir {params.shards:q} --settings {params.settings:q}"
        " --out {output:q} 2> {log:q}"


rule pseudolabel:
    input:
        replay=lambda w: paths.selection(w.step, work.run(w.run).replay_table),
        model=lambda w: work.previous(w.run, w.seed, w.step, "model.safetensors"),
    output:
        folder=directory(paths.step("{run}", "{seed}", "{step}", "pseudolabels")),
        table=paths.step("{run}", "{seed}", "{step}", "pseudolabels.parquet"),
    params:
        settings=work.settings("pseudolabel"),
        version=work.version("pseudolabel"),
    threads: 2
    log:
        f"logs/{paths.step('{run}', '{seed}', '{step}', 'pseudolabels.log')}",
    shell:
        "python -m pipeline.pseudolabel label --model {input.model:q} --replay {input.replay:q}"
        " --settings {params.settings:q} --out-dir {output.folder:q} --out {output.table:q} 2> {log:q}"


rule train_list_base:
    input:
        paths.protocol(0),
    output:
        paths.base("{recipe}", "{seed}", "train_list.parquet"),
    params:
        version=work.version("pseudolabel"),
    log:
        f"logs/{paths.base('{recipe}', '{seed}', 'train_list.log')}",
    shell:
        "python -m pipeline.pseudolabel list --protocol {input:q} --out {output:q} 2> {log:q}"


rule train_list:
    input:
        unpack(lambda w: work.list_inputs(w.run, w.seed, w.step)),
    output:
        paths.step("{run}", "{seed}", "{step}", "train_list.parquet"),
    params:
        sources=lambda w: work.list_options(w.run, w.seed, w.step),
        version=work.version("pseudolabel"),
    log:
        f"logs/{paths.step('{run}', '{seed}', '{step}', 'train_list.log')}",
    shell:
        "python -m pipeline.pseudolabel list {params.sources} --out {output:q} 2> {log:q}"
