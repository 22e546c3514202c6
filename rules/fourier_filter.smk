rule fit_discriminator:
    input:
        protocol=paths.protocol(0),
        manifest=paths.manifest("base"),
        shards=[paths.shard(s, "tar") for s in work.shards("base")],
    output:
        model=paths.fourier("discriminator.safetensors"),
        metrics=paths.fourier("metrics.json"),
    params:
        settings=work.settings("fourier_filter.discriminator"),
        version=work.version("fourier_filter"),
        shards=f"{paths.web()}/shards",
    threads: 2
    log:
        f"logs/{paths.results}/fourier.log",
    shell:
        "python -m pipeline.fourier_filter fit --protocol {input.protocol:q} --manifest {input.manifest:q}"
        " --shards-dir {params.shards:q} --settings {params.settings:q}"
        " --out-model {output.model:q} --out-metrics {output.metrics:q} 2> {log:q}"


if work.has_images:

    rule select_images:
        input:
            manifest=paths.manifest("step{step}"),
            shards=lambda w: [paths.shard(s, "tar") for s in work.shards(f"step{w.step}")],
            nouns=paths.selection("{step}", "noun_filter"),
            model=paths.fourier("discriminator.safetensors"),
        output:
            fourier=paths.selection("{step}", "fourier"),
            selection=paths.selection("{step}", "new_classes"),
        params:
            settings=work.settings("fourier_filter.selection"),
            version=work.version("fourier_filter"),
            shards=f"{paths.web()}/shards",
        threads: 2
        log:
            f"logs/{paths.results}/selection/step{{step}}/fourier.log",
        shell:
            "python -m pipeline.fourier_filter select --manifest {input.manifest:q} --noun-filter {input.nouns:q}"
            " --shards-dir {params.shards:q} --model {input.model:q} --settings {params.settings:q}"
            " --out-fourier {output.fourier:q} --out-selection {output.selection:q} 2> {log:q}"


else:

    # A model is taught without images to fit a discriminator on.
    rule select_by_nouns:
        input:
            manifest=paths.manifest("step{step}"),
            shards=lambda w: [paths.shard(s, "tar") for s in work.shards(f"step{w.step}")],
            nouns=paths.selection("{step}", "noun_filter"),
        output:
            fourier=paths.selection("{step}", "fourier"),
            selection=paths.selection("{step}", "new_classes"),
        params:
            settings=work.settings("fourier_filter.selection"),
            version=work.version("fourier_filter"),
            shards=f"{paths.web()}/shards",
        log:
            f"logs/{paths.results}/selection/step{{step}}/fourier.log",
        shell:
            "python -m pipeline.fourier_filter select --manifest {input.manifest:q} --noun-filter {input.nouns:q}"
            " --shards-dir {params.shards:q} --settings {params.settings:q}"
            " --out-fourier {output.fourier:q} --out-selection {output.selection:q} 2> {log:q}"
