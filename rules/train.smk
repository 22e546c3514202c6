if work.taught:

    rule import_base:
        input:
            model=local(work.config.teach.model),
            protocol=paths.protocol(0),
        output:
            multiext(
                paths.base("{recipe}", "{seed}", ""),
                "model.safetensors",
                "method_state.safetensors",
                "config.yaml",
                "log.csv",
                "cost.json",
            ),
        params:
            settings=work.settings("teach.model"),
            version=work.version("teach"),
            recipe=lambda w: w.recipe,
        log:
            f"logs/{paths.base('{recipe}', '{seed}', 'import.log')}",
        shell:
            "python -m pipeline.teach.stage import-base --recipe {params.recipe:q} --seed {wildcards.seed:q}"
            " --protocol {input.protocol:q} --settings {params.settings:q} --out \"$(dirname {output[0]:q})\" 2> {log:q}"


else:

    rule train_base:
        input:
            protocol=paths.protocol(0),
            list=paths.base("{recipe}", "{seed}", "train_list.parquet"),
            saliency=lambda w: work.saliency(recipe=w.recipe),
        output:
            multiext(
                paths.base("{recipe}", "{seed}", ""),
                "model.safetensors",
                "method_state.safetensors",
                "config.yaml",
                "log.csv",
                "cost.json",
            ),
        params:
            settings=work.base_settings(),
            version=work.version("train"),
            recipe=lambda w: w.recipe,
            seed=lambda w: w.seed,
        # A base depends on no experiment's name, so neither must its parameters: its folder is that of its output.
        cache: work.cached
        priority: 5
        threads: work.training_threads()
        resources:
            processes=work.config.train.world_size,
            gpu=work.config.train.world_size,
        log:
            f"logs/{paths.base('{recipe}', '{seed}', 'train.log')}",
        shell:
            "python -m pipeline.train --processes {resources.processes} base --recipe {params.recipe:q} --seed {params.seed:q}"
            " --protocol {input.protocol:q} --train-list {input.list:q} --settings {params.settings:q}"
            " --out \"$(dirname {output[0]:q})\" 2> {log:q}"


rule train_step:
    input:
        protocol=paths.protocol("{step}"),
        list=paths.step("{run}", "{seed}", "{step}", "train_list.parquet"),
        model=lambda w: work.previous(w.run, w.seed, w.step, "model.safetensors"),
        state=lambda w: work.previous(w.run, w.seed, w.step, "method_state.safetensors"),
        saliency=lambda w: work.saliency(run=w.run),
    output:
        multiext(
            paths.step("{run}", "{seed}", "{step}", ""),
            "model.safetensors",
            "method_state.safetensors",
            "config.yaml",
            "log.csv",
            "cost.json",
        ),
    params:
        settings=lambda w: work.run_settings(w.run),
        method=lambda w: work.run(w.run).method,
        version=work.version("train"),
        folder=lambda w: paths.step(w.run, w.seed, w.step, ""),
    threads: work.training_threads()
    resources:
        processes=work.config.train.world_size,
        gpu=work.config.train.world_size,
    log:
        f"logs/{paths.step('{run}', '{seed}', '{step}', 'train.log')}",
    shell:
        "python -m pipeline.train --processes {resources.processes} step --method {params.method:q} --seed {wildcards.seed:q}"
        " --protocol {input.protocol:q} --train-list {input.list:q} --previous {input.model:q}"
        " --previous-state {input.state:q} --settings {params.settings:q} --out {params.folder:q} 2> {log:q}"
