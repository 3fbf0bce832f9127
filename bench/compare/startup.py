"""What an allocator adds to the start and end of a trivial program: thousands of spawns, interleaved in batches, against
an empty library that is preloaded the same way."""

import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import allocators as known
import machine
import tables

BATCHES = 50  # in each round
SPAWNS = 10  # in each batch


def compare(tools, allocators, rounds):
    """Prints, for each allocator, the median of all spawns and what it is over the empty library. Nebula is there with
    and without its variables: a report at the end has a cost of its own."""
    contestants = {"no preload": known.Allocator("no preload", None, ""),
                   "empty library": known.Allocator("empty library", known.preloadable("empty library", tools / "libempty.so"), "")}
    for name, allocator in allocators.items():
        if allocator.library is not None:
            contestants[name] = allocator
            if allocator.variables:
                contestants[f"{name}, no variables"] = replace(allocator, variables={})

    times = {name: [] for name in contestants}
    order = list(contestants)
    with tempfile.TemporaryDirectory() as scratch, machine.OthersWatch() as watch:
        for number in range(1 + rounds * BATCHES):
            for name in order:
                nanoseconds = spawn(tools, contestants[name].environment(Path(scratch)), name)
                if number > 0:  # the first batch warms up
                    times[name] += nanoseconds
            order.append(order.pop(0))

    medians = {name: statistics.median(values) / 1e3 for name, values in times.items()}
    rows = [[name, f"{median:.1f}", f"{median - medians['empty library']:+.1f}"] for name, median in medians.items()]
    print(tables.markdown_table(["start-up", "µs", "over the empty library"], rows))
    print(f"\n{rounds * BATCHES * SPAWNS} spawns each; others kept {watch.processors:.2f} processors busy meanwhile")


def spawn(tools, environment, name):
    run = subprocess.run([tools / "spawn", str(SPAWNS), tools / "trivial"], env=environment, capture_output=True, text=True)
    if run.returncode != 0 or "cannot be preloaded" in run.stderr:
        sys.exit(f"start-up under {name}: {run.stderr}")
    return list(map(int, run.stdout.split()))
