"""From runs to tables: medians, ratios, geometric means, and the list of what Nebula does not win.

A value is what an allocator needs, so that less is better: seconds for each operation, or bytes. 'Best' without more
words is the least of all allocators, Nebula among them; Nebula's 'best peer' is the least of all others.
"""

import csv
import statistics
from statistics import geometric_mean

SUBJECT = "nebula"
MEASURES = {"time": "time", "peak_rss": "peak RSS", "cpu": "CPU time", "minor_faults": "page faults"}
MOST_TIME = (1.00, 1.05)  # of the best peer's: above these a workload is listed
MOST_MEMORY = (1.15,)
FAR_APART = 2  # times the least distance of two processors
LEAST_UNDISTURBED = 3  # runs of which a median can be taken


def representative(runs):
    """A disturbed run says little, unless there is hardly another one."""
    undisturbed = [run for run in runs if not run["disturbed"]]
    return undisturbed if len(undisturbed) >= LEAST_UNDISTURBED else runs


def medians(results, measure):
    """{case: {allocator: median}}, of the allocators that passed; a case that none passed is left out."""
    table = {}
    for name, case in results["cases"].items():
        row = {allocator: statistics.median(run[measure] for run in representative(runs))
               for allocator, runs in case["runs"].items() if runs}
        if row:
            table[name] = row
    return table


def relative_to_best(row):
    """Nothing is relative to nothing: where the best is 0, such as the CPU time of a run of less than a tick, the ratio
    cannot be told."""
    best = min(row.values())
    return {allocator: value / best for allocator, value in row.items()} if best > 0 else {}


def to_best_peer(row, subject=SUBJECT):
    peers = [value for allocator, value in row.items() if allocator != subject]
    return row[subject] / min(peers) if subject in row and peers and min(peers) > 0 else None


def means_of_relatives(table):
    """{allocator: geometric mean over the cases of its value relative to the best}, over the cases it passed."""
    columns = {}
    for row in table.values():
        for allocator, value in relative_to_best(row).items():
            columns.setdefault(allocator, []).append(value)
    return {allocator: geometric_mean(values) for allocator, values in columns.items()}


def mean_ratio(table, subject, peer):
    """Geometric mean of subject to peer over the cases that both passed; None where there is none."""
    ratios = [row[subject] / row[peer] for row in table.values() if row.get(subject, 0) > 0 and row.get(peer, 0) > 0]
    return geometric_mean(ratios) if ratios else None


def verdicts(results, measure):
    """What there is to say of Nebula: its mean relative to each peer's, to the best peer of each workload, and the
    workloads, worst first, with its value relative to their best peer."""
    table = medians(results, measure)
    peers = [name for name in results["allocators"] if name != SUBJECT]
    to_peers = {peer: ratio for peer in peers if (ratio := mean_ratio(table, SUBJECT, peer)) is not None}
    by_case = {name: ratio for name, row in table.items() if (ratio := to_best_peer(row)) is not None}
    return to_peers, sorted(by_case.items(), key=lambda item: -item[1])


def significant(value):
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def human_time(seconds):
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{significant(seconds / unit)} {name}"
    return f"{significant(seconds / 1e-9)} ns"


def human_bytes(size):
    return f"{significant(size / 2**20)} MiB"


def markdown_table(columns, rows):
    """The first column is text, the others are numbers."""
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def ratio_table(results, measure, human):
    """One row a case: the best value, each allocator relative to it (the best in bold), Nebula relative to its best
    peer. The last row has the geometric means."""
    names = list(results["allocators"])
    table = medians(results, measure)
    has_subject = SUBJECT in names and len(names) > 1
    rows = []
    for case, row in table.items():
        relative = relative_to_best(row)
        cells = [case, human(min(row.values()))]
        for name in names:
            if name in relative:
                cells.append(f"**{relative[name]:.2f}**" if relative[name] == 1 else f"{relative[name]:.2f}")
            else:
                cells.append("failed" if name in results["cases"][case]["failures"] else "")
        if has_subject:
            ratio = to_best_peer(row)
            cells.append("" if ratio is None else f"{ratio:.3f}")
        rows.append(cells)
    means = means_of_relatives(table)
    last = ["geometric mean", ""] + [f"{means[name]:.3f}" if name in means else "" for name in names]
    if has_subject:
        ratios = [ratio for row in table.values() if (ratio := to_best_peer(row)) is not None]
        last.append(f"{geometric_mean(ratios):.3f}" if ratios else "")
    rows.append(last)
    return markdown_table(["workload", "best", *names, *([f"{SUBJECT} / best peer"] if has_subject else [])], rows)


def summary(results):
    """Geometric means of all measures, and Nebula's distance from the goals."""
    names = list(results["allocators"])
    rows = []
    for measure, title in MEASURES.items():
        means = means_of_relatives(medians(results, measure))
        rows.append([title] + [f"{means[name]:.3f}" if name in means else "" for name in names])
    text = ["## Geometric means, relative to the best of each workload", "", markdown_table(["", *names], rows), ""]
    if SUBJECT in names and len(names) > 1:
        text += [f"## {SUBJECT.capitalize()} and its peers", ""]
        text += [verdict_text(results, "time", "best", MOST_TIME), ""]
        text += [verdict_text(results, "peak_rss", "leanest", MOST_MEMORY), ""]
    return "\n".join(text)


def verdict_text(results, measure, word, limits):
    to_peers, by_case = verdicts(results, measure)
    title = MEASURES[measure]
    if not to_peers:
        return f"- {title}: no workload was passed by both {SUBJECT} and a peer"
    hardest = max(to_peers, key=to_peers.get)
    lines = [f"- {title}: geometric mean **{to_peers[hardest]:.3f}** of that of the {word} peer, {hardest}; of all: " +
             ", ".join(f"{name} {ratio:.3f}" for name, ratio in to_peers.items()),
             f"- {title}: geometric mean {geometric_mean(ratio for _, ratio in by_case):.3f} "
             f"of the {word} peer of each workload"]
    for limit in limits:
        above = [f"{name} {ratio:.3f}" for name, ratio in by_case if ratio > limit]
        lines.append(f"- {title} above {limit:.2f} of the {word} peer: {len(above)} of {len(by_case)}" +
                     (f" ({', '.join(above)})" if above else ""))
    return "\n".join(lines)


def phase_table(results):
    """Resident memory at the ends of phases, in MiB, of the workloads that tell."""
    names = list(results["allocators"])
    rows = []
    for case, entry in results["cases"].items():
        phases = next((runs[0]["phases"] for runs in entry["runs"].values() if runs), {})
        for phase in phases:
            rows.append([case, phase] + [
                significant(statistics.median(run["phases"].get(phase, 0) for run in runs) / 2**20) if runs else "failed"
                for runs in (entry["runs"].get(name, []) for name in names)])
    return markdown_table(["workload", "phase", *names], rows) if rows else None


def latency_table(results):
    names = list(results["allocators"])
    rows = []
    for case, by_allocator in results.get("latency", {}).items():
        for call in ("malloc", "free"):
            for figure in ("p99.99", "max"):
                values = {name: by_allocator[name][call][figure] for name in names if call in by_allocator.get(name, {})}
                if values:
                    rows.append([f"{case} {call} {figure}"] + [
                        human_time(values[name] / 1e9) if name in values else "failed" for name in names])
    return markdown_table(["latency", *names], rows) if rows else None


def failures(results):
    return [f"- {case} under {name}: {' '.join(text.split())}" for case, entry in results["cases"].items()
            for name, text in entry["failures"].items()]


def disturbed(results):
    lines = []
    for case, entry in results["cases"].items():
        marked = {name: count for name, runs in entry["runs"].items() if (count := sum(run["disturbed"] for run in runs))}
        if marked:
            lines.append(f"- {case}: " + ", ".join(f"{name} {count} of {len(entry['runs'][name])} runs"
                                                  for name, count in marked.items()))
    return lines


def distances(results):
    """How far apart the processors were, and in which workloads it was not the same for all that is compared."""
    seen = {case: [run["distance"] for runs in entry["runs"].values() for run in runs if run.get("distance")]
            for case, entry in results["cases"].items()}
    every = sorted(distance for of_case in seen.values() for distance in of_case)
    if not every:
        return None
    apart = FAR_APART * every[0]
    far = [distance for distance in every if distance > apart]
    text = (f"A cache line took {every[0]} to {every[-1]} ns from one processor to the other and back (median "
            f"{statistics.median(every):.0f}, before each run that counts). ")
    if not far:
        return text + "That is one place for all."
    mixed = [f"{case} {count} of {len(of_case)}" for case, of_case in seen.items()
             if 0 < (count := sum(distance > apart for distance in of_case)) < len(of_case)]
    text += f"In {len(far)} of {len(every)} runs they were far apart, above {apart:.0f} ns"
    return text + (f"; in part of the runs only: {', '.join(mixed)}." if mixed else ".")


def self_check_text(check):
    by_case = ", ".join(f"{case} {ratio:.3f}" for case, ratio in check["cases"].items())
    verdict = "passed" if check["passed"] else "FAILED"
    noise = f"; {check['disturbed']} of {check['runs']} runs were disturbed" if check["disturbed"] else ""
    return (f"Self-check {verdict}: two copies of one library, geometric mean {check['mean']:.4f} "
            f"(allowed: 1.00 ± {check['tolerance']:.2f}) over {by_case}{noise}")


def report(results):
    """The whole Markdown text."""
    sections = ["# Allocators side by side", "",
                "\n".join(f"- {name}: {value}" for name, value in results["facts"].items()),
                "\n".join(f"- {name}: {version}" for name, version in results["allocators"].items()), ""]
    if results["cases"]:
        sections += [summary(results),
                     "## Time (medians)", "", ratio_table(results, "time", human_time), "",
                     "## Peak RSS (medians)", "", ratio_table(results, "peak_rss", human_bytes), ""]
    for title, text in (("Resident at the ends of phases, MiB (medians)", phase_table(results)),
                        ("Latency of single calls (medians)", latency_table(results)),
                        ("Failed", "\n".join(failures(results))),
                        ("Left out", "\n".join(f"- {case}: {' '.join(text.split())[:300]}"
                                               for case, text in results.get("left out", {}).items())),
                        ("Disturbed: others used the machine, and repeating did not help", "\n".join(disturbed(results))),
                        ("Distance of the processors", distances(results)),
                        ("Self-check", self_check_text(results["self_check"]) if "self_check" in results else None)):
        if text:
            sections += [f"## {title}", "", text, ""]
    return "\n".join(sections)


def write_csv(results, path):
    """All runs, one a line."""
    columns = ["workload", "kind", "allocator", "round", "time_s", "wall_s", "cpu_s", "peak_rss_bytes", "minor_faults",
               "resident_at_phases", "distance_ns", "others_processors", "tries", "disturbed", "failure"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for case, entry in results["cases"].items():
            for name, runs in entry["runs"].items():
                for number, run in enumerate(runs, 1):
                    phases = ";".join(f"{phase}={size}" for phase, size in run["phases"].items())
                    writer.writerow([case, entry["kind"], name, number, f"{run['time']:.6g}", f"{run['wall']:.6f}",
                                     f"{run['cpu']:.6f}", run["peak_rss"], run["minor_faults"], phases,
                                     run.get("distance", ""), f"{run['others']:.3f}", run["tries"], int(run["disturbed"]), ""])
            for name, text in entry["failures"].items():
                writer.writerow([case, entry["kind"], name, *[""] * 11, " ".join(text.split())])
