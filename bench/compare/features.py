"""What features cost: one library with one feature after the other, its limits all far away, against the library without; beside it
another allocator, as a yardstick for what a load costs elsewhere."""

import argparse
import re
import subprocess

import allocators as known
import runs
import tables

FAR = "64G"  # no workload comes near
NONE = "none"
KINDS = {
    NONE: {},
    "none again": {},  # how far two columns of the same are apart: what the machine adds
    "process": {"NEBULA_BUDGET": FAR},
    "tree": {"NEBULA_BUDGET_TREE": FAR},
    "sizes": {"NEBULA_BUDGET_SIZE": f"1-1024:{FAR},1025-:{FAR}"},
    "node": {"NEBULA_BUDGET_NODE": f"0:{FAR}"},
    "threads": {"NEBULA_BUDGET_THREAD": FAR},
    "all these": {},
    "modules": {"NEBULA_BUDGET_MODULE": f"libstdc++.so*:{FAR}"},
    "profile": {"NEBULA_PROFILE": "512K", "NEBULA_PROFILE_FILE": "/dev/null"},
}
for kind in ("process", "tree", "sizes", "node", "threads"):
    KINDS["all these"].update(KINDS[kind])
YARDSTICK = "mimalloc"  # the fastest of the peers
COLUMNS = (*KINDS, YARDSTICK)


def columns(text):
    """Which features, of an option's text; none is always there."""
    wanted = text.split(",")
    for column in wanted:
        if column not in COLUMNS:
            raise argparse.ArgumentTypeError(f"'{column}' is none of {', '.join(COLUMNS)}")
    return tuple(column for column in COLUMNS if column == NONE or column in wanted)


def contestants(library, wanted):
    kinds = {kind: known.Allocator(kind, library, "this tree", KINDS[kind]) for kind in wanted if kind in KINDS}
    return {**kinds, **(known.choose(YARDSTICK, library) if YARDSTICK in wanted else {})}


def measure(cases, kinds, schedule, save):
    """Results as of a comparison of allocators; `save` gets them after each case."""
    results = {"allocators": {kind: " ".join(f"{n}={v}" for n, v in each.variables.items()) or each.version
                              for kind, each in kinds.items()}, "cases": {}}
    for case in cases:
        if case.prepare() is None:
            results["cases"][case.name] = {"kind": case.kind, **runs.compare(case, kinds, schedule)}
            save(results)
    return results


def relative(results, measure_name):
    """{case: {column: median relative to no feature}}."""
    table = tables.medians(results, measure_name)
    return {case: {kind: value / row[NONE] for kind, value in row.items()} for case, row in table.items() if row.get(NONE, 0) > 0}


LOADS = {  # short runs: callgrind is some fifty times slower
    "cfrac": "--scale 0.05", "shbench": "--threads 1 --scale 0.05", "alloc-test": "--threads 1 --scale 0.02",
    "json": "--threads 1 --scale 0.05", "lru-cache": "--scale 0.03", "strings": "--threads 1 --scale 0.05",
    "larson": "--threads 1 --scale 0.02", "mstress": "--threads 2 --scale 0.05", "rptest": "--threads 2 --scale 0.02",
    "xmalloc": "--scale 0.01",
}
COUNTED = ("none", "process", "tree", "sizes", "node", "threads", "all these", "profile")


def instructions(program, arguments, library, kind, scratch):
    environment = [f"{name}={value}" for name, value in known.Allocator(kind, library, "", KINDS[kind]).environment(scratch).items()]
    # The preload is the workload's, not valgrind's.
    run = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=yes", "env", "-i",
                          *environment, program, *arguments.split()], capture_output=True, text=True)
    counts = re.findall(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not counts:
        raise SystemExit(f"{program} {arguments} under callgrind ended with {run.returncode}: {run.stderr[-300:]}")
    return int(counts[-1])


def instructions_text(folder, expression, library, scratch):
    library = known.preloadable("nebula", library)
    rows = []
    for name, arguments in LOADS.items():
        if not expression.search(name):
            continue
        counts = [instructions(folder / name, arguments, library, kind, scratch) for kind in COUNTED]
        rows.append([f"{name} {arguments}", f"{counts[0]:,}", *(f"{count / counts[0]:.4f}" for count in counts[1:])])
    return tables.markdown_table(["workload", *COUNTED], rows)


def text(results):
    kinds = list(results["allocators"])
    parts = ["# What features cost", "",
             "\n".join(f"- {name}: {value}" for name, value in results.get("facts", {}).items()),
             "\n".join(f"- {kind}: {said}" for kind, said in results["allocators"].items()), ""]
    for measure_name, title in (("time", "Time"), ("cpu", "CPU time"), ("peak_rss", "Peak RSS")):
        by_case = relative(results, measure_name)
        rows = [[case, *(f"{row[kind]:.3f}" if kind in row else "failed" for kind in kinds)] for case, row in by_case.items()]
        ratios = {kind: [row[kind] for row in by_case.values() if row.get(kind, 0) > 0] for kind in kinds}
        rows.append(["geometric mean", *(f"{tables.geometric_mean(values):.3f}" if values else "" for values in ratios.values())])
        parts += [f"## {title}, medians relative to none", "", tables.markdown_table(["workload", *kinds], rows), ""]
    failed = tables.failures(results)
    return "\n".join(parts + (["## Failed", "", *failed, ""] if failed else []))
