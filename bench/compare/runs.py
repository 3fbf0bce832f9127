"""Runs one program once under one allocator, and a list of cases under all allocators in turn.

A case runs A B C …, then B C … A, and so on: what drifts on the machine reaches all allocators alike, and none always
follows the same other. The first round warms up caches and files and is thrown away; its largest peak RSS is what `warm`
touches before each run that counts (warm.c says why). A run during which others used the machine is repeated; when that
does not help, the least disturbed try is kept and marked.
"""

import os
import signal
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import machine

RUN_SECONDS = 180


class RunFailure(Exception):
    """The program did not do what it must; the text says how."""


@dataclass
class Cost:
    """What the operating system charged a program."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak_rss: int  # bytes, of the largest process
    minor_faults: int


@dataclass
class Run:
    """One run as it goes into the results. `time` is what is compared: the program's own seconds for each operation
    where it counts operations, wall time elsewhere."""

    time: float
    wall: float
    cpu: float
    peak_rss: int
    minor_faults: int
    phases: dict = field(default_factory=dict)  # name: resident bytes at its end
    distance: int = 0  # nanoseconds from processor to processor and back, just before
    others: float = 0.0  # processors that others kept busy
    tries: int = 1
    disturbed: bool = False

    @classmethod
    def of(cls, cost, time=None, phases=None):
        return cls(cost.wall if time is None else time, **asdict(cost), phases=phases or {})


class Process:
    """A program under `measure`, in a folder of its own choosing. Used as a context, it leaves nothing running."""

    def __init__(self, measure, command, environment, folder):
        self.command = [str(part) for part in command]
        self.stdout, self.stderr, self._report = (folder / f".{name}" for name in ("stdout", "stderr", "report"))
        self._report.unlink(missing_ok=True)
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self._process = subprocess.Popen([measure, self._report, *self.command], cwd=folder, env=environment,
                                             stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                             start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # It leads a session of its own: whatever it left running ends with it.
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def ended(self):
        return self._process.poll() is not None

    def finish(self):
        """Waits for the end and returns the cost; any end but a good one is a failure."""
        try:
            self._process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            raise RunFailure(f"not done after {RUN_SECONDS} seconds: {' '.join(self.command)}") from None
        said = self.stderr.read_bytes()[-2000:].decode(errors="replace").strip()
        if "cannot be preloaded" in said or not self._report.exists():
            raise RunFailure(f"could not be run: {said}")
        status, wall, user, system, peak_rss, minor_faults = map(int, self._report.read_text().split())
        if status != 0:
            how = f"ended with status {status}" if status < 128 else f"killed by {signal_name(status - 128)}"
            raise RunFailure(f"{how}: {said or '(nothing on stderr)'}")
        return Cost(wall / 1e9, (user + system) / 1e6, peak_rss * 1024, minor_faults)


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run_to_end(measure, command, environment, folder):
    """The cost of a program that ends by itself, and the files with its stdout and stderr."""
    with Process(measure, command, environment, folder) as process:
        return process.finish(), process.stdout, process.stderr


@dataclass
class Schedule:
    rounds: int
    tries: int  # at most, for a run that was disturbed
    most_others: float  # processors that others may keep busy
    scratch: Path  # an empty folder for each run is made in here


def warm_memory(case, peak_rss):
    """A fifth more than the case needed, and some for its surroundings."""
    mebibytes = 64 + peak_rss * 6 // 5 // 2**20
    subprocess.run([case.measure.with_name("warm"), str(mebibytes)], check=True)


def run_undisturbed(case, allocator, schedule, peak_rss):
    best = None
    for number in range(1, schedule.tries + 1):
        warm_memory(case, peak_rss)
        distance = machine.distance(case.measure.with_name("distance"))
        with machine.OthersWatch() as watch:
            run = case.run(allocator, schedule.scratch)
        run.distance, run.others, run.tries = distance, watch.processors, number
        if best is None or run.others < best.others:
            best = run
        if best.others <= schedule.most_others:
            break
    best.tries, best.disturbed = number, best.others > schedule.most_others
    return best


def compare(case, allocators, schedule):
    """{"runs": {allocator: [run, …]}, "failures": {allocator: text}}; an allocator that failed is not run again."""
    runs = {name: [] for name in allocators}
    failures = {}
    order = list(allocators)
    peak_rss = 0
    for number in range(schedule.rounds + 1):
        for name in order:
            if name in failures:
                continue
            try:
                if number == 0:
                    peak_rss = max(peak_rss, case.run(allocators[name], schedule.scratch).peak_rss)
                else:
                    runs[name].append(asdict(run_undisturbed(case, allocators[name], schedule, peak_rss)))
            except RunFailure as failure:
                failures[name] = str(failure)
                runs[name].clear()
                print(f"  FAILED under {name}: {failure}", file=sys.stderr)
        order = order[1:] + order[:1]
    return {"runs": runs, "failures": failures}


def compare_latency(case, allocators, schedule, peak_rss):
    """{allocator: {call: {figure: nanoseconds}}}: the medians over the rounds of what the program says of single calls. A call that maps
    memory waits for page faults of other threads, so memory is warmed here as well."""
    seen = {name: [] for name in allocators}
    order = list(allocators)
    for number in range(schedule.rounds + 1):
        for name in list(order):
            if number > 0:
                warm_memory(case, peak_rss)
            try:
                latency = case.run_latency(allocators[name], schedule.scratch)
            except RunFailure as failure:
                print(f"  FAILED under {name}: {failure}", file=sys.stderr)
                order.remove(name)
                seen.pop(name)
                continue
            if number > 0:
                seen[name].append(latency)
        order = order[1:] + order[:1]
    return {name: {call: {figure: statistics.median(latency[call][figure] for latency in list_of)
                          for figure in list_of[0][call]} for call in list_of[0]}
            for name, list_of in seen.items() if list_of and list_of[0]}
