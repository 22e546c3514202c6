"""profiles/slurm/patient.py that asks for the state of its jobs every second: `quick.py ARGUMENTS`.

The executor's pause grows by ten seconds with every answer in which nothing has ended, up to three minutes, and no
option changes that: fine for jobs of hours, most of the time of a test.
"""

import runpy
from pathlib import Path

from snakemake_executor_plugin_slurm import Executor

SECONDS = 1


class Pause:
    """The executor's attribute: reads as one second whatever is written to it."""

    def __get__(self, executor: object, owner: type) -> int:
        return SECONDS

    def __set__(self, executor: object, seconds: int) -> None:
        pass


Executor.next_seconds_between_status_checks = Pause()

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[2] / "profiles" / "slurm" / "patient.py"), run_name="__main__")
