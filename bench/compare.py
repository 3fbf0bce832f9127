#!/usr/bin/python3
"""Runs Nebula and its peers side by side and tells who needs less time and memory.

Every workload of bench/workload and a number of real programs with fixed input run under each allocator in turn. The
results go into a folder: all runs as JSON and CSV, medians and geometric means as Markdown, charts as SVG. Nebula runs
with statistics and a budget switched on: they must cost nothing. A run during which others used the machine is repeated.
"""

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "bench" / "compare"))

import allocators as known  # noqa: E402
import charts  # noqa: E402
import features  # noqa: E402
import machine  # noqa: E402
import programs  # noqa: E402
import runs  # noqa: E402
import self_check  # noqa: E402
import startup  # noqa: E402
import tables  # noqa: E402
import workloads  # noqa: E402

EVERYBODY = "nebula,glibc,jemalloc,mimalloc,tcmalloc,tbbmalloc"


def at_least_one(text):
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def share(text):
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not value > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0, such as 0.1")
    return value


def expression(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a regular expression: {error}") from None


def parse(words):
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allocators", default=EVERYBODY, metavar="A,B,...",
                        help=f"{known.FORMS}, in the order of running (default: {EVERYBODY}). A library given by path "
                        "runs with Nebula's variables set: old=path compares two builds of it")
    parser.add_argument("--filter", type=expression, default=re.compile(""), metavar="REGEX",
                        help="only workloads whose name contains a match")
    parser.add_argument("--list", action="store_true", help="print the names of the workloads and stop")
    parser.add_argument("--rounds", type=at_least_one, default=5, metavar="N",
                        help="rounds that count, after one that warms up (default: %(default)s)")
    parser.add_argument("--tries", type=at_least_one, default=3, metavar="N",
                        help="how often a run is done at most until it is undisturbed (default: %(default)s)")
    parser.add_argument("--most-others", type=share, default=0.1, metavar="PROCESSORS",
                        help="processors that others may use in an undisturbed run (default: %(default)s)")
    parser.add_argument("--latency", action="store_true",
                        help="then run the workloads again, timing each call: p99.99 and maximum of malloc and free")
    parser.add_argument("--self-check", nargs="?", const="only", choices=("only", "also"),
                        help="compare two copies of the library, which must come out equal: instead of everything else "
                        "(only, the default), or after it (also)")
    parser.add_argument("--startup", action="store_true",
                        help="instead, measure what each allocator adds to the start of a trivial program")
    parser.add_argument("--features", nargs="?", const=tuple(features.COLUMNS), type=features.columns, metavar="A,B,...",
                        help="instead, measure what each kind of budget and a profile cost against none: medians in features.md; "
                        f"all, or of {', '.join(features.COLUMNS[1:])}")
    parser.add_argument("--instructions", action="store_true",
                        help="with --features: count the instructions of short runs under callgrind, the same on every machine")
    parser.add_argument("--from", type=Path, dest="source", metavar="RESULTS.JSON",
                        help="run nothing, make the tables and charts of these results again")
    parser.add_argument("--build", type=Path, default=PROJECT / "build" / "bench", metavar="FOLDER",
                        help="where meson has built library and workloads (default: build/bench)")
    parser.add_argument("--results", type=Path, metavar="FOLDER",
                        help="where results go (default: results/ in the build folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="(default: results.json in the results folder)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="(default: runs.csv in the results folder)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="(default: results.md in the results folder)")
    parser.add_argument("--svg-folder", type=Path, metavar="FOLDER", help="(default: the results folder)")
    arguments = parser.parse_args(words)

    results = arguments.results or arguments.build / "results"
    arguments.json = arguments.json or results / "results.json"
    arguments.csv = arguments.csv or results / "runs.csv"
    arguments.markdown = arguments.markdown or results / "results.md"
    arguments.svg_folder = arguments.svg_folder or results
    return parser, arguments


def note(text):
    print(text, file=sys.stderr, flush=True)


def write(results, arguments):
    for path in (arguments.csv, arguments.markdown, arguments.svg_folder / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_csv(results, arguments.csv)
    text = tables.report(results)
    arguments.markdown.write_text(text + "\n", encoding="utf-8")
    drawn = charts.draw(results, arguments.svg_folder)
    note(f"written: {', '.join(map(str, [arguments.csv, arguments.markdown, *drawn]))}")
    print(text)


def save(results, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def read(path, parser):
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        results["facts"], results["allocators"], results["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"--from {path}: these are not results that this program wrote: {error!r}")
    return results


def find_cases(arguments):
    """The workloads and programs that the filter lets through."""
    build = arguments.build.resolve()
    measure = build / "bench" / "compare" / "measure"
    cases = workloads.find(build / "bench" / "workload", measure)
    cases += programs.find(measure, build / "inputs")
    return [case for case in cases if arguments.filter.search(case.name)]


def compare_all(arguments, cases, allocators, schedule):
    results = {"facts": {**machine.facts(), "rounds": schedule.rounds},
               "allocators": {name: allocator.version for name, allocator in allocators.items()}, "cases": {}}
    for number, case in enumerate(cases, 1):
        note(f"[{number}/{len(cases)}] {case.name}")
        problem = case.prepare()
        if problem:
            note(f"  left out: {problem}")
            results.setdefault("left out", {})[case.name] = problem
            continue
        results["cases"][case.name] = {"kind": case.kind, **runs.compare(case, allocators, schedule)}
        # An interrupted run is not lost.
        save(results, arguments.json)
    if arguments.latency:
        timed = [case for case in cases if case.kind == "workload"]
        for number, case in enumerate(timed, 1):
            note(f"[{number}/{len(timed)}] {case.name} --latency")
            seen = results["cases"].get(case.name, {"runs": {}})["runs"].values()
            peak_rss = max((run["peak_rss"] for each in seen for run in each), default=0)
            results.setdefault("latency", {})[case.name] = runs.compare_latency(case, allocators, schedule, peak_rss)
            save(results, arguments.json)
    return results


def measure_features(arguments, cases, library, schedule):
    folder = arguments.markdown.parent
    facts = {**machine.facts(), "rounds": schedule.rounds}
    results = features.measure(cases, features.contestants(library, arguments.features), schedule,
                               lambda so_far: save({"facts": facts, **so_far}, folder / "features.json"))
    text = features.text({"facts": facts, **results})
    (folder / "features.md").write_text(text, encoding="utf-8")
    note(f"written: {folder / 'features.md'}")
    print(text)


def main(words):
    parser, arguments = parse(words)
    if arguments.source and arguments.features:
        print(features.text(read(arguments.source, parser)))
        return 0
    if arguments.source:
        write(read(arguments.source, parser), arguments)
        return 0

    library = arguments.build / "preload" / "libnebula.so"
    try:
        allocators = {} if arguments.features else known.choose(arguments.allocators, library)
    except known.UnknownAllocator as error:
        parser.error(f"--allocators {arguments.allocators}: {error}")
    if arguments.startup:
        startup.compare(arguments.build.resolve() / "bench" / "compare", allocators, arguments.rounds)
        return 0

    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # In memory where there is such a place: what a program writes should not wait for a disk.
    memory = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(prefix="nebula-bench-", dir=memory if memory.is_dir() else None))
    try:
        if arguments.features and arguments.instructions:
            print(features.instructions_text(arguments.build / "bench" / "workload", arguments.filter, library, scratch))
            return 0
        cases = find_cases(arguments)
        if arguments.list:
            print(*(case.name for case in cases), sep="\n")
            return 0
        if not cases:
            parser.error(f"--filter {arguments.filter.pattern}: no workload's name contains a match; --list shows them")
        schedule = runs.Schedule(arguments.rounds, arguments.tries, arguments.most_others, scratch)
        if arguments.features:
            measure_features(arguments, cases, known.preloadable("nebula", library), schedule)
            return 0
        results = {"facts": machine.facts(), "allocators": {}, "cases": {}}
        if arguments.self_check != "only":
            results = compare_all(arguments, cases, allocators, schedule)
        if arguments.self_check:
            note("self-check")
            results["self_check"] = self_check.run(cases, library, schedule)
            print(tables.self_check_text(results["self_check"]))
        if arguments.self_check != "only":
            save(results, arguments.json)
            write(results, arguments)
        return 0 if results.get("self_check", {}).get("passed", True) else 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
