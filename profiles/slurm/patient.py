#!/usr/bin/env python3
"""Snakemake that outlives an outage of Slurm's controller or accounting: `patient.py ARGUMENTS`, as for `snakemake`.

Version 2.8.0 of Snakemake's Slurm executor asks five times in a row for the state of its jobs. If no answer comes, it
forgets every job that it had submitted, says nothing, and waits for ever. Here it asks again until there is an answer.
"""

import asyncio
import functools
import sys

import snakemake_executor_plugin_slurm as plugin

SECONDS = 2
"""Between two questions, while no answer comes."""

ask = plugin.query_job_status


async def ask_until_answered(command, logger):
    """Return {job: state} and the seconds that the answer took."""
    while (answer := await ask(command, logger)) == (None, None):
        print("Slurm does not answer; asking again", file=sys.stderr)
        await asyncio.sleep(SECONDS)
    return answer


plugin.query_job_status = ask_until_answered
# Read anew for every question, it decides between squeue and sacct; without a controller it would choose sacct.
plugin.get_min_job_age = functools.cache(plugin.get_min_job_age)

if __name__ == "__main__":
    from snakemake.cli import main

    main()
