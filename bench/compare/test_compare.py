#!/usr/bin/python3
"""Runs bench/compare.py over two small workloads and looks at what it writes: every run in the CSV, both allocators in the
tables, charts that are SVG, no failure; and bad options are named."""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[1] / "compare.py"
CASES = ("cfrac", "xmalloc-2")


def compare(*options):
    return subprocess.run([sys.executable, COMPARE, *options], capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    build = ("--build", str(parser.parse_args().build))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        run = compare(*build, "--filter", f"^({'|'.join(CASES)})$", "--allocators", "nebula,glibc", "--rounds", "2", "--tries",
                      "1", "--results", folder)
        assert run.returncode == 0, run.stderr
        known = json.loads((results / "results.json").read_text())
        assert set(known["cases"]) == set(CASES), known["cases"].keys()
        for name, case in known["cases"].items():
            assert not case["failures"], (name, case["failures"])
            assert {allocator: len(runs) for allocator, runs in case["runs"].items()} == {"nebula": 2, "glibc": 2}, name
            for runs in case["runs"].values():
                assert all(each["time"] > 0 and each["peak_rss"] > 2**20 for each in runs), (name, runs)
        with (results / "runs.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2 * 2 * len(CASES), rows
        # A line to another processor and back takes no less than two accesses to a shared cache.
        assert all(int(row["distance_ns"]) >= 10 for row in rows) if len(os.sched_getaffinity(0)) > 1 else True, rows
        text = (results / "results.md").read_text()
        assert all(name in text for name in CASES), text
        assert "A cache line took " in text or len(os.sched_getaffinity(0)) == 1, text
        charts = list(results.glob("*.svg"))
        assert len(charts) >= 3 and all(xml.parse(chart).getroot().tag.endswith("svg") for chart in charts), charts
        # The same tables again, without a run.
        again = compare("--from", str(results / "results.json"), "--results", folder)
        assert again.returncode == 0 and (results / "results.md").read_text() == text, again.stderr
        # Every feature runs each workload and none refuses it anything.
        run = compare(*build, "--features", "--filter", "^cfrac$", "--rounds", "1", "--tries", "1", "--results", folder)
        assert run.returncode == 0, run.stderr
        kinds = json.loads((results / "features.json").read_text())["cases"]["cfrac"]
        assert not kinds["failures"] and len(kinds["runs"]) == 11, kinds["failures"]
        assert all(len(each) == 1 and each[0]["time"] > 0 for each in kinds["runs"].values())
        text = (results / "features.md").read_text()
        assert "| cfrac | 1.000 |" in text and "failed" not in text, text
        again = compare("--features", "--from", str(results / "features.json"))
        assert again.returncode == 0 and again.stdout.strip() == text.strip(), again.stderr
        # What limits promise, counted: 1 % for that of the process, 2 % for the others, all of them together, and a profile aside.
        run = compare(*build, "--features", "--instructions", "--filter", "^alloc-test$")
        rows = [line for line in run.stdout.splitlines() if line.startswith("| alloc-test")]
        assert run.returncode == 0 and len(rows) == 1, run.stderr
        ratios = [float(cell) for cell in rows[0].split("|")[3:-2]]
        assert len(ratios) == 6 and ratios[0] < 1.01 and max(ratios) < 1.02, rows
    for options, words in ((("--rounds", "none"), "'none'"), (("--allocators", "nebula,hoard"), "'hoard'"),
                           (("--filter", "("), "'('"), (("--features", "process,profil"), "'profil'"), (("--allocators", "nebula", "--filter", "no such case"), "no such case")):
        run = compare(*build, *options)
        assert run.returncode == 2 and words in run.stderr, (options, run.returncode, run.stderr)


if __name__ == "__main__":
    main()
