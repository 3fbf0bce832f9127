#!/usr/bin/python3
"""Runs the microbenchmark under each allocator in turn (A B C … A B C …), takes medians over the rounds and prints them
side by side as a Markdown table: nanoseconds per operation, and Nebula's time divided by each peer's.

Each case has a process of its own, so that none inherits another's heap. Nebula runs with statistics and a budget
switched on: they must cost nothing. The first round warms up and is thrown away. With several threads an operation's
time is wall time divided by the operations of all threads together.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
PEERS = {  # name: (Debian's package, library)
    "glibc": ("libc6", None),
    "jemalloc": ("libjemalloc2", LIBRARIES / "libjemalloc.so.2"),
    "mimalloc": ("libmimalloc2.0", LIBRARIES / "libmimalloc.so.2"),
    "tcmalloc": ("libtcmalloc-minimal4", LIBRARIES / "libtcmalloc_minimal.so.4"),
}
NEBULA_VARIABLES = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": "/dev/null", "NEBULA_BUDGET": "16G"}


def package_version(package):
    query = subprocess.run(["dpkg-query", "--showformat=${Version}", "--show", package], capture_output=True, text=True)
    return query.stdout or "not installed"


def machine():
    """What a reader needs to compare with another run."""
    processor = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), "unknown")
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor,
        "processors": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2**20} MiB",
        "kernel": platform.release(),
        "huge pages": huge_pages.read_text().strip() if huge_pages.exists() else "unknown",
        "load average at start": f"{os.getloadavg()[0]:.2f}",
    }


def list_cases(binary, pattern):
    listing = subprocess.run([binary, "--benchmark_list_tests", f"--benchmark_filter={pattern}"], check=True,
                             capture_output=True, text=True)
    return listing.stdout.split()


def run_once(binary, case, name, library, min_time):
    """Nanoseconds per operation of one case under one allocator."""
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("NEBULA_", "LD_", "MALLOC_", "MIMALLOC_", "TCMALLOC_"))}
    if library is not None:
        environment["LD_PRELOAD"] = str(library)
    if name == "nebula":
        environment.update(NEBULA_VARIABLES)
    command = [binary, f"--benchmark_filter=^{re.escape(case)}$", f"--benchmark_min_time={min_time}",
               f"--benchmark_min_warmup_time={min_time / 4}", "--benchmark_format=json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode != 0 or "cannot be preloaded" in run.stderr:
        sys.exit(f"{name}, {case}: ended with status {run.returncode}\n{run.stderr}")
    (result,) = json.loads(run.stdout)["benchmarks"]
    return 1e9 / result["items_per_second"]


def measure(binary, cases, allocators, rounds, min_time):
    """{case: {allocator: [nanoseconds per operation, one for each round]}}"""
    times = {case: {name: [] for name in allocators} for case in cases}
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}{' (warming up)' if number == 0 else ''}", file=sys.stderr)
        for case in cases:
            for name, library in allocators.items():
                nanoseconds = run_once(binary, case, name, library, min_time)
                if number > 0:
                    times[case][name].append(nanoseconds)
    return times


def summarise(times, allocators):
    """One row per case: medians, and what Nebula takes relative to each peer and to the best of them."""
    rows = []
    for case, by_allocator in times.items():
        row = {"case": case.replace("/real_time", "")}
        medians = {name: statistics.median(by_allocator[name]) for name in allocators}
        row.update({f"{name} ns": median for name, median in medians.items()})
        peers = {name: median for name, median in medians.items() if name != "nebula"}
        if "nebula" in medians and peers:
            row.update({f"to {name}": medians["nebula"] / median for name, median in peers.items()})
            row["to best"] = medians["nebula"] / min(peers.values())
        rows.append(row)
    return rows


def significant(value):
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def print_table(rows, facts):
    for name, value in facts.items():
        print(f"- {name}: {value}")
    columns = list(rows[0])
    print("\n| " + " | ".join(columns) + " |")
    print("|" + "|".join("---" if column == "case" else "---:" for column in columns) + "|")
    for row in rows:
        print("| " + " | ".join(row[column] if column == "case" else significant(row[column]) for column in columns) + " |")
    ratios = [column for column in columns if column.startswith("to ")]
    if ratios:
        means = {column: statistics.geometric_mean(row[column] for row in rows) for column in ratios}
        print("\nGeometric mean of Nebula's time, relative: " +
              ", ".join(f"{column} {mean:.3f}" for column, mean in means.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micro", type=Path, required=True, help="the benchmark binary")
    parser.add_argument("--library", type=Path, help="libnebula.so")
    parser.add_argument("--allocators", default=",".join(["glibc", "nebula", *list(PEERS)[1:]]),
                        help="comma-separated, in the order of running (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: %(default)s)")
    parser.add_argument("--benchmark_filter", default=".", help="a regular expression of the cases to run")
    parser.add_argument("--benchmark_min_time", type=float, default=0.1, help="seconds for each case (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("at least one round")

    allocators, versions = {}, {}
    for name in arguments.allocators.split(","):
        if name == "nebula":
            if arguments.library is None:
                parser.error("nebula needs --library")
            library, versions[name] = arguments.library.resolve(), str(arguments.library)
        elif name in PEERS:
            package, library = PEERS[name]
            versions[name] = f"{package} {package_version(package)}"
        else:
            parser.error(f"unknown allocator {name}; known: nebula, {', '.join(PEERS)}")
        if library is not None and not library.exists():
            parser.error(f"no library at {library}")
        allocators[name] = library

    facts = {**machine(), "rounds": arguments.rounds, "seconds for each case": arguments.benchmark_min_time, **versions}
    binary = arguments.micro.resolve()
    cases = list_cases(binary, arguments.benchmark_filter)
    if not cases:
        sys.exit(f"no case matches {arguments.benchmark_filter}")
    times = measure(binary, cases, allocators, arguments.rounds, arguments.benchmark_min_time)
    rows = summarise(times, allocators)
    print_table(rows, facts)
    if arguments.json:
        arguments.json.write_text(json.dumps({"facts": facts, "rows": rows, "times": times}, indent=2) + "\n")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
