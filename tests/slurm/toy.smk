# Jobs that misbehave at their first attempt, and many small ones.
N = int(config.get("small", 0))


rule all:
    input:
        ["fails_once.txt", "too_long.txt", "cancelled.txt", "gpus.txt", "gres.txt"],


rule fails_once:
    output:
        "fails_once.txt",
    resources:
        mem_mb=lambda wildcards, attempt: 300 * attempt,
        tries=lambda wildcards, attempt: attempt,
    shell:
        "[ {resources.tries} -gt 1 ] && echo {resources.mem_mb} > {output}"


rule too_long:
    output:
        "too_long.txt",
    resources:
        mem_mb=300,
        runtime=lambda wildcards, attempt: attempt,
    shell:
        "[ {resources.runtime} -gt 1 ] || sleep 400; echo {resources.runtime} > {output}"


rule cancelled:
    output:
        "cancelled.txt",
    resources:
        mem_mb=300,
        tries=lambda wildcards, attempt: attempt,
    shell:
        "[ {resources.tries} -gt 1 ] || sleep 400; echo {resources.tries} > {output}"


rule gpus:
    output:
        "gpus.txt",
    resources:
        mem_mb=300,
        gpu=2,
        gpu_model="type1",
    shell:
        "echo $CUDA_VISIBLE_DEVICES > {output}"


rule gres:
    output:
        "gres.txt",
    resources:
        mem_mb=300,
        gres="gpu:type2:1",
    shell:
        "echo $CUDA_VISIBLE_DEVICES > {output}"


rule endless:
    output:
        "endless.txt",
    resources:
        mem_mb=300,
    shell:
        "sleep 4000; touch {output}"


rule small:
    output:
        "small/{i}.txt",
    group:
        "small"
    resources:
        mem_mb=300,
        runtime=1,
    shell:
        "echo {wildcards.i} > {output}"


rule many:
    localrule: True
    input:
        expand("small/{i}.txt", i=range(N)),
