# The maps themselves are no declared outputs: Snakemake deletes those of a job that was cut short, and
# finished maps are kept. The index is written last, so whoever needs the maps asks for the index.
rule detect_saliency:
    input:
        ancient(local(paths.dataset_classes())),
    output:
        local(paths.saliency("index.parquet")),
    params:
        settings=work.drawing_settings(),
        version=work.version("saliency"),
        folder=paths.saliency(""),
    threads: 2
    # What whole branches wait for goes first, or jobs of one thread keep it waiting to the end.
    priority: 10
    log:
        f"logs/{paths.saliency('detect.log')}",
    shell:
        "python -m pipeline.saliency detect --settings {params.settings:q} --threads {threads}"
        " --out-dir {params.folder:q} --out {output:q} 2> {log:q}"
