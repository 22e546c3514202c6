rule site:
    input:
        expand(paths.pool_protocol("{step}"), step=range(work.last_step + 1)),
    output:
        index=f"{paths.site()}/index.json",
        truth=paths.truth(),
    params:
        settings=work.settings("miniweb"),
        version=work.version("miniweb"),
        root=paths.site(),
    threads: 2
    log:
        "logs/miniweb.log",
    shell:
        "python -m pipeline.miniweb site --root {params.root:q} --protocol {input:q}"
        " --settings {params.settings:q} 2> {log:q}"
