rule plan:
    input:
        protocol=lambda wildcards: paths.pool_protocol(work.plan_step(wildcards.plan)),
        captions=lambda wildcards: work.plan_captions(wildcards.plan),
    output:
        paths.queries("{plan}"),
    params:
        settings=lambda wildcards: work.crawl_settings(wildcards.plan, "shards", "replay_queries"),
        version=work.version("crawl_ingest"),
        captions=lambda wildcards, input: f"--captions {quote(str(input.captions))}" if input.captions else "",
    log:
        f"logs/{paths.web()}/queries/{{plan}}.log",
    shell:
        "python -m pipeline.crawl_ingest plan --plan {wildcards.plan:q} --protocol {input.protocol:q}"
        " {params.captions} --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule ingest:
    input:
        queries=paths.queries("{plan}"),
        protocol=paths.pool_protocol(0),
        site=work.site(),
    output:
        tar=paths.shard("{plan}-{number}", "tar"),
        table=paths.shard("{plan}-{number}", "parquet"),
        stats=paths.shard("{plan}-{number}", "stats.json"),
    params:
        settings=lambda wildcards: work.crawl_settings(wildcards.plan),
        version=work.version("crawl_ingest"),
        around=work.around_crawl(),
    # The longest way to a trained step begins here: it must not wait for those that need no web.
    priority: 8
    log:
        f"logs/{paths.web()}/shards/{{plan}}-{{number}}.log",
    shell:
        "{params.around} python -m pipeline.crawl_ingest ingest --queries {input.queries:q}"
        " --shard {wildcards.plan:q}-{wildcards.number:q} --protocol {input.protocol:q}"
        " --settings {params.settings:q} --out {output.tar:q} 2> {log:q}"


rule merge:
    input:
        queries=paths.queries("{plan}"),
        shards=lambda wildcards: [paths.shard(s, "parquet") for s in work.shards(wildcards.plan)],
    output:
        paths.manifest("{plan}"),
    params:
        settings=lambda wildcards: work.crawl_settings(wildcards.plan, "near_duplicate_bits"),
        version=work.version("crawl_ingest"),
        shards=lambda w: work.shard_files(paths.shard(f"{w.plan}-{{}}", "parquet")),
    log:
        f"logs/{paths.web()}/manifests/{{plan}}.log",
    shell:
        "python -m pipeline.crawl_ingest merge --queries {input.queries:q} --shards {params.shards}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


rule card:
    input:
        work.manifests(),
    output:
        card=paths.card(),
        attribution=paths.card("attribution.csv"),
    params:
        settings=work.settings("crawl_ingest"),
        version=work.version("crawl_ingest"),
    log:
        f"logs/{paths.web()}/card.log",
    shell:
        "python -m pipeline.crawl_ingest card --manifests {input:q}"
        " --settings {params.settings:q} --out {output.card:q} 2> {log:q}"
