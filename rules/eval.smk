rule evaluate_base:
    input:
        model=paths.base("{recipe}", "{seed}", "model.safetensors"),
        protocol=paths.protocol(0),
    output:
        json=paths.base("{recipe}", "{seed}", "eval.json"),
        matrix=paths.base("{recipe}", "{seed}", "confusion.npy"),
        overlays=directory(paths.base("{recipe}", "{seed}", "overlays")),
    params:
        settings=work.base_eval_settings(),
        version=work.version("eval"),
        folder=lambda w: paths.base(w.recipe, w.seed, ""),
    threads: 2
    log:
        f"logs/{paths.base('{recipe}', '{seed}', 'eval.log')}",
    shell:
        "python -m pipeline.eval evaluate --model {input.model:q} --protocol {input.protocol:q} --recipe {wildcards.recipe:q}"
        " --settings {params.settings:q} --out {params.folder:q} 2> {log:q}"


rule evaluate:
    input:
        model=paths.step("{run}", "{seed}", "{step}", "model.safetensors"),
        protocol=paths.protocol("{step}"),
        previous=lambda w: work.previous(w.run, w.seed, w.step, "eval.json"),
    output:
        json=paths.step("{run}", "{seed}", "{step}", "eval.json"),
        matrix=paths.step("{run}", "{seed}", "{step}", "confusion.npy"),
        overlays=directory(paths.step("{run}", "{seed}", "{step}", "overlays")),
    params:
        settings=lambda w: work.eval_settings(w.run),
        version=work.version("eval"),
        method=lambda w: work.run(w.run).method,
        folder=lambda w: paths.step(w.run, w.seed, w.step, ""),
    threads: 2
    log:
        f"logs/{paths.step('{run}', '{seed}', '{step}', 'eval.log')}",
    shell:
        "python -m pipeline.eval evaluate --model {input.model:q} --protocol {input.protocol:q}"
        " --method {params.method:q} --previous {input.previous:q} --settings {params.settings:q}"
        " --out {params.folder:q} 2> {log:q}"


rule report:
    input:
        work.report_inputs(),
    output:
        page=paths.report(),
        summary=paths.summary(),
    params:
        settings=work.report_settings(),
        version=work.version("eval"),
    log:
        f"logs/{paths.results}/report.log",
    shell:
        "python -m pipeline.eval report --settings {params.settings:q} --steps {work.last_step}"
        " --out {output.page:q} --summary {output.summary:q} 2> {log:q}"
