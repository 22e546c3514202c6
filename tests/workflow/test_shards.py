"""Commands that name every shard of a plan stay short, however many there are."""

import subprocess

import pytest

from pipeline.workflow import Workflow

LONGEST_ARGUMENT = 128 * 1024


@pytest.mark.parametrize("shards", [1, 2, 20_000])
def test_bash_spells_out_every_shard(shards: int) -> None:
    work = Workflow({"crawl_ingest": {"shards": shards}})
    pattern = work.shard_files(work.paths.shard("step1-{}", "parquet"))
    assert len(pattern) < 200
    listed = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True)
    names = [work.paths.shard(shard, "parquet") for shard in work.shards("step1")]
    assert listed.stdout.split() == names
    assert shards < 20_000 or len(" ".join(names)) > LONGEST_ARGUMENT, "the pattern would not be needed"
