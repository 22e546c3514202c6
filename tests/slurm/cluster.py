"""A throw-away Slurm cluster on loopback: real slurmctld, slurmd and munged, without systemd.

Everything it writes is in its own folder. The Slurm executor of Snakemake removes SLURM_CONF from the environment of
its inner `srun`; the folder's `bin`, first on PATH, therefore holds wrappers of Slurm's commands that set it again,
so that /etc/slurm is never touched. A process of its own (tests/slurm/guard.py) stops everything should the tests be
killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

DAEMONS = ("slurmctld", "slurmd", "munged")
COMMANDS = ("srun", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr")
DEVICES = "/dev/null,/dev/zero"
"""Two devices that every machine has, for GPUs that nobody opens; jobs see CUDA_VISIBLE_DEVICES=0, 1 or 0,1."""
SBIN = "/usr/sbin:/sbin"
CONFIG = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
SlurmctldPort={port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
GresTypes=gpu
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=7200
KillWait=5
OverTimeLimit=0
InactiveLimit=0
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
"""


def missing() -> str:
    """Return what is not installed, '' if everything is."""
    return ", ".join(
        name for name in (*DAEMONS, "sbatch") if not shutil.which(name, path=f"{os.environ['PATH']}:{SBIN}")
    )


class Cluster:
    """Logical nodes with two fake GPUs each, in the partition `main` and in `urgent`, which preempts it.

    They are called node1, node2, ... and the types of their GPUs type1, type2, ...
    """

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 4, memory: int = 8000) -> None:
        self.folder, self.nodes, self.cpus, self.memory = folder, nodes, cpus, memory
        self._guard: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment that finds this cluster."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))
        }
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}:{SBIN}"
        ours = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path, "TMPDIR": str(self.folder / "tmp")}
        return {**kept, **ours}

    def __call__(self, *command: str, check: bool = True) -> str:
        """Run a Slurm command and return what it printed."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}\n{self.logs()}")
        return done.stdout

    def start(self) -> None:
        """Start every daemon; raise RuntimeError with the end of the logs if a node does not become idle."""
        self._write_files()
        self._watch()
        run = self.folder / "run"
        self("munged", "--force", f"--key-file={self.folder}/munge/key", f"--socket={run}/munge.socket",
             f"--pid-file={run}/munged.pid", f"--log-file={self.folder}/log/munged.log",
             f"--seed-file={self.folder}/munge/seed")  # fmt: skip
        self.wait("munged", lambda: bool(self("munge", "-n", "-S", f"{run}/munge.socket", check=False)))
        self.start_controller()
        for node in self.names():
            self("slurmd", "-f", f"{self.folder}/slurm.conf", "-N", node)
        self.wait("idle nodes", lambda: len(self("sinfo", "-hN", "-p", "main", "-t", "idle").split()) == 4 * self.nodes)

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers."""
        self("slurmctld", "-f", f"{self.folder}/slurm.conf")
        self.wait("slurmctld", lambda: "UP" in self("scontrol", "ping", check=False))

    def stop_controller(self) -> None:
        """Stop slurmctld alone; jobs go on."""
        self._stop(self.folder / "run" / "slurmctld.pid")

    def stop(self) -> None:
        """Cancel every job and stop every daemon by its own pid, in the order that loses nothing; twice is fine."""
        run = self.folder / "run"
        # Who submits goes first, or Snakemake would try what is cancelled again.
        self._kill(pid for pid in self.pids() if not _is_of_slurm(pid))
        if _alive(run / "slurmctld.pid"):
            self("scancel", f"--user={_user()}", check=False)
            self.wait("the queue to empty", lambda: not self("squeue", "-h", check=False).strip(), fail=False)
        for path in [*sorted(run.glob("slurmd.*.pid")), run / "slurmctld.pid", run / "munged.pid"]:
            self._stop(path)
        self._kill(self.pids())  # jobs too slow to obey in time
        self.wait("killed jobs to end", lambda: not self.pids(), fail=False)
        if self._guard:
            self._guard.communicate(timeout=60)
            self._guard = None

    def pids(self) -> list[int]:
        """Return the running processes whose environment or command names this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if f"{self.folder}/".encode() in text and int(process.name) != os.getpid():
                found.append(int(process.name))
        return found

    def names(self) -> list[str]:
        """Return the names of the nodes."""
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    def jobs(self, fields: str = "%i|%T|%M|%N|%k") -> list[list[str]]:
        """Return fields of every job that the controller remembers, oldest first."""
        lines = self("squeue", "-h", "--states=all", "--sort=i", "-o", fields).splitlines()
        return [line.split("|") for line in lines]

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 60, fail: bool = True) -> None:
        """Wait until `ready()`; raise RuntimeError after `seconds`."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                if not fail:
                    return
                raise RuntimeError(f"gave up waiting for {what} after {seconds} s\n{self.logs()}")
            time.sleep(0.2)

    def logs(self) -> str:
        """Return the end of every daemon's log."""
        files = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"{path.name}: {line}" for path in files for line in path.read_text().splitlines()[-6:])

    def _watch(self) -> None:
        # It sees the end of its input when we close it or die, however we die. In a session of its own, what is sent
        # to our whole process group does not reach it.
        command = [sys.executable, str(Path(__file__).with_name("guard.py")), str(self.folder)]
        with (self.folder / "log" / "guard.log").open("w") as log:
            self._guard = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def _write_files(self) -> None:
        for name in (
            "run",
            "log",
            "state",
            "spool",
            "munge",
            "bin",
            "tmp",
            *(f"spool/{node}" for node in self.names()),
        ):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o700)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        port = _free_ports(self.nodes + 1)
        lines = [CONFIG.format(folder=self.folder, user=_user(), host=_host(), port=port)]
        for number, node in enumerate(self.names(), 1):
            lines.append(f"NodeName={node} NodeHostname={_host()} NodeAddr=127.0.0.1 Port={port + number} "
                         f"CPUs={self.cpus} RealMemory={self.memory} Gres=gpu:type{number}:2\n")  # fmt: skip
        lines.append(
            f"PartitionName=main Nodes=ALL Default=YES PriorityTier=1 DefMemPerCPU={self.memory // self.cpus}\n"
        )
        lines.append("PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF\n")
        (self.folder / "slurm.conf").write_text("".join(lines))
        types = [(node, f"type{number}") for number, node in enumerate(self.names(), 1)]
        devices = [f"NodeName={node} Name=gpu Type={kind} File={DEVICES}\n" for node, kind in types]
        (self.folder / "gres.conf").write_text("".join(["AutoDetect=off\n", *devices]))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
        for name in COMMANDS:
            wrapper = self.folder / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which(name)} "$@"\n')
            wrapper.chmod(0o755)

    def _kill(self, pids: Iterable[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stop(self, pid_file: Path, patience: float = 15) -> None:
        pid = _alive(pid_file)
        if pid:
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + patience
            while _alive(pid_file) and time.monotonic() < end:
                time.sleep(0.1)
            if _alive(pid_file):
                os.kill(pid, signal.SIGKILL)
        pid_file.unlink(missing_ok=True)


def arguments(pid: int) -> list[str]:
    """Return the command of a process, empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _is_of_slurm(pid: int) -> bool:
    """Return whether a process is one of Slurm's daemons or part of a job."""
    process = Path(f"/proc/{pid}")
    try:
        job = b"SLURM_JOB_ID=" in (process / "environ").read_bytes()
        return job or (process / "comm").read_text().startswith(("slurm", "munge"))
    except OSError:
        return True


def _alive(pid_file: Path) -> int:
    """Return the running process of a pid file, 0 if there is none."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
        zombie = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (OSError, ValueError):
        return 0
    return 0 if zombie else pid


def _free_ports(count: int) -> int:
    """Return the first of `count` consecutive free TCP ports."""
    for first in range(26800, 28800, 20):
        with ExitStack() as probes, suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("", port))
            return first
    raise RuntimeError("no free ports between 26800 and 28800")


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _host() -> str:
    return socket.gethostname().split(".")[0]
