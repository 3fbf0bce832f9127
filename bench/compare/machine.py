"""What a reader must know of the machine to compare two runs, and whether others used it while a run was measured."""

import datetime
import os
import platform
import resource
import subprocess
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROJECT = Path(__file__).resolve().parents[2]


def facts():
    processor = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), "unknown")
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor,
        "processors": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2**20} MiB",
        "kernel": platform.release(),
        "transparent huge pages": huge_pages.read_text().strip() if huge_pages.exists() else "unknown",
        "compiler": first_line("g++", "--version"),
        "load average at start": f"{os.getloadavg()[0]:.2f}",
    }


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0] or "unknown"
    except FileNotFoundError:
        return "not installed"


def commit():
    """A released tarball has no history: that is no reason not to measure it."""
    head = first_line("git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD")
    changes = first_line("git", "-C", str(PROJECT), "status", "--porcelain", "--untracked-files=no")
    return head if changes in ("unknown", "not installed") else f"{head}, with changes"


def distance(program):
    """Nanoseconds that a cache line takes from one processor to another and back, now (distance.c); 0: there is one."""
    return int(subprocess.run([program], capture_output=True, text=True, check=True).stdout)


class OthersWatch:
    """How many processors others kept busy, on average, while the block ran.

    Busy is what the kernel did not count as idle, hence stolen time of a virtual machine counts too; of that, what this
    process and the children it waited for used is our own. The kernel counts idle time in ticks of 10 ms, so that a
    run of less than a few of them cannot be judged: `allowance` is taken off.
    """

    allowance = 0.03  # seconds: a tick per processor, and one for reading the figures one after the other

    def __enter__(self):
        self._start = self._reading()
        return self

    def __exit__(self, *_):
        wall, idle, own = (end - start for start, end in zip(self._start, self._reading()))
        busy = wall * os.cpu_count() - idle
        self.processors = max(0.0, busy - own - self.allowance) / wall

    @staticmethod
    def _reading():
        fields = Path("/proc/stat").read_text().partition("\n")[0].split()
        idle = (int(fields[4]) + int(fields[5])) / TICKS_PER_SECOND  # idle, and waiting for a disk
        own = sum(usage.ru_utime + usage.ru_stime
                  for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
        return time.monotonic(), idle, own
