"""Are the measurements worth anything? Two copies of one library must come out equal, on a handful of workloads."""

import shutil

import allocators as known
import runs
import tables

TOLERANCE = 0.02
MOST_CASES = 5
LEAST_ROUNDS = 7  # a median of fewer moves by more than the tolerance on a machine that is not quite still


def run(cases, library, schedule):
    """Takes cases evenly spread over those given. The copies' names have the same length: the length of a variable
    in the environment moves the stack, and with it what falls into one cache line."""
    copies = {}
    for name in ("copy-a", "copy-b"):
        path = schedule.scratch / f"lib{name}.so"
        shutil.copyfile(library, path)
        copies[name] = known.Allocator(name, path, "a copy", known.NEBULA_VARIABLES)
    step = max(1, len(cases) / MOST_CASES)
    chosen = [cases[int(number * step)] for number in range(min(MOST_CASES, len(cases)))]
    longer = runs.Schedule(max(LEAST_ROUNDS, schedule.rounds), schedule.tries, schedule.most_others, schedule.scratch)

    results = {"cases": {}}
    for case in chosen:
        problem = case.prepare()
        if problem is None:
            results["cases"][case.name] = runs.compare(case, copies, longer)
    table = tables.medians(results, "time")
    ratios = {name: row["copy-b"] / row["copy-a"] for name, row in table.items() if len(row) == 2}
    mean = tables.mean_ratio(table, "copy-b", "copy-a") or float("nan")
    done = [run for case in results["cases"].values() for runs_of in case["runs"].values() for run in runs_of]
    return {"cases": ratios, "runs": len(done), "disturbed": sum(run["disturbed"] for run in done), "mean": mean, "tolerance": TOLERANCE,
            "rounds": longer.rounds, "passed": abs(mean - 1) <= TOLERANCE and len(ratios) == len(chosen)}
