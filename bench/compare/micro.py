#!/usr/bin/python3
"""Runs the microbenchmark under each allocator in turn (A B C … A B C …), takes medians over the rounds and prints them
side by side as a Markdown table: nanoseconds per operation, and Nebula's time divided by each peer's.

Each case has a process of its own, so that none inherits another's heap. Nebula runs with statistics and a budget
switched on: they must cost nothing. The first round warms up and is thrown away. With several threads an operation's
time is wall time divided by the operations of all threads together.
"""

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import allocators as known
import machine
from tables import significant


def list_cases(binary, pattern):
    listing = subprocess.run([binary, "--benchmark_list_tests", f"--benchmark_filter={pattern}"], check=True,
                             capture_output=True, text=True)
    return listing.stdout.split()


def run_once(binary, case, allocator, min_time):
    """Nanoseconds per operation of one case under one allocator."""
    command = [binary, f"--benchmark_filter=^{re.escape(case)}$", f"--benchmark_min_time={min_time}",
               f"--benchmark_min_warmup_time={min_time / 4}", "--benchmark_format=json"]
    run = subprocess.run(command, env=allocator.environment(tempfile.gettempdir()), capture_output=True, text=True)
    if run.returncode != 0 or "cannot be preloaded" in run.stderr:
        sys.exit(f"{allocator.name}, {case}: ended with status {run.returncode}\n{run.stderr}")
    (result,) = json.loads(run.stdout)["benchmarks"]
    return 1e9 / result["items_per_second"]


def measure(binary, cases, allocators, rounds, min_time):
    """{case: {allocator: [nanoseconds per operation, one for each round]}}"""
    times = {case: {name: [] for name in allocators} for case in cases}
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}{' (warming up)' if number == 0 else ''}", file=sys.stderr)
        for case in cases:
            for name, allocator in allocators.items():
                nanoseconds = run_once(binary, case, allocator, min_time)
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
    parser.add_argument("--allocators", default="glibc,nebula,jemalloc,mimalloc,tcmalloc",
                        help=f"comma-separated, in the order of running: {known.FORMS} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: %(default)s)")
    parser.add_argument("--benchmark_filter", default=".", help="a regular expression of the cases to run")
    parser.add_argument("--benchmark_min_time", type=float, default=0.1, help="seconds for each case (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("at least one round")

    if "nebula" in arguments.allocators.split(",") and arguments.library is None:
        parser.error("nebula needs --library")
    try:
        allocators = known.choose(arguments.allocators, arguments.library)
    except known.UnknownAllocator as error:
        parser.error(f"--allocators {arguments.allocators}: {error}")

    facts = {**machine.facts(), "rounds": arguments.rounds, "seconds for each case": arguments.benchmark_min_time,
             **{name: allocator.version for name, allocator in allocators.items()}}
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
