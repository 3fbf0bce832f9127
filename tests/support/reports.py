#!/usr/bin/python3
"""Every report, of whatever form, wherever one turns up: known by its first words, checked by the reader of its form, and kept. The
harness looks through what each test leaves, so that no suite has to ask for it; tests/report/kept.py looks through what all have kept.

    reports.py FILE...    checks each file, and of those named alike that they have the same numbers; status 1 when anything is wrong
"""

import gzip
import json
import re
import shutil
import sys
import zlib
from collections import Counter
from pathlib import Path

import json_report
import pprof
import report
from report import Wrong

KINDS = ("text", "json", "lines", "prometheus", "html", "pprof", "collapsed")
FORGED = "forged"  # a folder of this name has what tests made up
HEADING = re.compile(r"^nebula [\w.+-]+ report: ", re.MULTILINE)
PAGE = re.compile(r'<script type="application/json" id="report">\n(.*?)</script>', re.DOTALL)
SUFFIXES = {".txt": "text", ".json": "json", ".prom": "prometheus", ".html": "html"}


def kind_of(data):
    """None for what is no report."""
    if data[:2] == b"\x1f\x8b":
        try:
            return "pprof" if b"Nebula: one sample in " in gzip.decompress(data) else None
        except (OSError, EOFError, zlib.error):
            return None
    head = data[:4096]
    if HEADING.match(head.decode(errors="replace")):
        return "text"
    if head.startswith(b"{") and b'"format":"nebula-report"' in head.replace(b'": "', b'":"'):
        return "json" if head.startswith(b"{\n") else "lines"
    if head.startswith(b"# HELP nebula_"):
        return "prometheus"
    if head.startswith(b"<!DOCTYPE html>") and b'id="report"' in data:
        return "html"
    return "collapsed" if re.search(rb"^# module \S+ (?:-|[0-9a-f]+) ", data, re.MULTILINE) else None


def read_prometheus(text):
    """{(metric, frozenset of labels but program and pid): value}"""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = re.fullmatch(r"(\w+)\{((?:[^}\"]|\"(?:[^\"\\]|\\.)*\")*)\} ([\d.]+)", line)
        if not found:
            raise Wrong(f"no sample: {line!r}")
        pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2]))
        pairs.pop("program")
        pairs.pop("pid")
        key = (found[1], frozenset(pairs.items()))
        if key in samples:
            raise Wrong(f"twice: {line}")
        samples[key] = float(found[3])
    return samples


def checked_prometheus(text):
    samples = read_prometheus(text)

    def total(metric, **labels):
        return sum(value for (name, pairs), value in samples.items() if name == metric and set(labels.items()) <= pairs)

    parts, committed = total("nebula_memory_bytes"), total("nebula_committed_bytes")
    for column in ("allocations_total", "frees_total", "live_objects", "live_bytes", "slab_bytes", "empty_slabs"):
        small, classes = total(f"nebula_{column}", kind="small"), total(f"nebula_size_class_{column}")
        if small != classes:
            raise Wrong(f"{column} of small objects: {small}, by class {classes}")
    live = sum(total("nebula_live_bytes", kind=kind) for kind in ("small", "large", "in_blocks", "in_handlers"))
    if live != total("nebula_memory_bytes", part="live"):
        raise Wrong(f"live bytes by kind: {live}, in memory {total('nebula_memory_bytes', part='live')}")
    apart = total("nebula_difference_bytes") if any(name == "nebula_difference_bytes" for name, _ in samples) else None
    if apart is not None and abs(parts - committed) != apart:
        raise Wrong(f"the parts of memory are {parts}, committed is {committed}")
    return samples


def checked_html(text):
    inside = PAGE.search(text)
    if not inside or not text.rstrip().endswith("</html>"):
        raise Wrong("the page is not whole")
    return json_report.checked(inside[1])


def checked_collapsed(text):
    """{stack: bytes}"""
    if text and not text.endswith("\n"):
        raise Wrong("the last line is not whole")
    lines = text.splitlines()
    stacks = Counter()
    modules = {line.split(" ", 4)[2] for line in lines if line.startswith("# module ")}
    for line in lines:
        if line.startswith("# module "):
            continue
        stack, _, size = line.rpartition(" ")
        if not stack or not size.isdigit() or int(size) == 0:
            raise Wrong(f"no stack and bytes: {line!r}")
        for frame in stack.split(";"):
            found = re.fullmatch(r"(?:(\S+)\+)?0x[0-9a-f]+|\(more\)|unknown", frame)
            if not found or (found[1] and found[1] not in modules):
                raise Wrong(f"frame {frame!r} in {line!r}, of the modules {modules}")
        stacks[stack] += int(size)
    return stacks


def checked(data, kind):
    """What the form's reader makes of it; raises Wrong. Of lines, the last report."""
    text = data.decode(errors="backslashreplace") if kind != "pprof" else ""
    if kind == "lines":
        if not text.endswith("\n"):
            raise Wrong("the last line is not whole")
        return [json_report.checked(line) for line in text.splitlines()][-1]
    if kind == "pprof":
        try:
            return pprof.read_bytes(data, has_names=True)  # `nebula symbolize` writes them too
        except (pprof.Wrong, KeyError, IndexError) as wrong:
            raise Wrong(f"{wrong!r}") from None
    return {"text": report.checked, "json": json_report.checked, "prometheus": checked_prometheus, "html": checked_html,
            "collapsed": checked_collapsed}[kind](text)


def differences(forms):
    """Of one report in several forms, {kind: what checked() made of it}: each number that two of them have is the same in both."""
    data = forms.get("json") or forms.get("html")
    if data is None:
        return
    if "html" in forms and forms["html"] != data:
        yield "the page holds another report than the JSON form"
    pairs = []
    memory, objects = data["memory"], data["objects"]
    if "text" in forms:
        pairs += text_pairs(forms["text"], data)
    if "prometheus" in forms:
        metrics = forms["prometheus"]
        parts = {"live": "live_bytes", "pools": "pooled_bytes", "depots": "depot_bytes", "slabs_free": "slab_free_bytes",
                 "blocks_dead": "block_dead_bytes", "dirty_spans": "dirty_span_bytes", "metadata": "metadata_bytes"}
        expected = {("nebula_memory_bytes", frozenset({("part", part)})): memory[field] for part, field in parts.items()}
        columns = {"allocations_total": "allocations", "frees_total": "frees", "live_objects": "live", "live_bytes": "live_bytes",
                   "slab_bytes": "slab_bytes", "empty_slabs": "empty_slabs"}
        for metric, column in columns.items():
            for kind in ("small", "large", "in_blocks", "in_handlers"):
                expected[f"nebula_{metric}", frozenset({("kind", kind)})] = objects[kind][column]
            for row in data["size_classes"]:
                expected[f"nebula_size_class_{metric}", frozenset({("size", str(row["slot_bytes"]))})] = row[column]
        for metric, value in {"committed_bytes": memory["committed_bytes"], "mapped_bytes": memory["mapped_bytes"],
                              "committed_peak_bytes": memory["committed_peak_bytes"], "resident_bytes": data["resident_bytes"],
                              "threads": data["threads"]["now"], "elapsed_seconds": data["elapsed_milliseconds"] / 1000,
                              "internal_waste_bytes": data["fragmentation"]["internal_bytes"]}.items():
            expected[f"nebula_{metric}", frozenset()] = value
        if data["budget"]["hard_limit_bytes"] is not None:
            expected["nebula_budget_limit_bytes", frozenset({("limit", "hard")})] = data["budget"]["hard_limit_bytes"]
        if (facts := data["auto_routes"]) is not None:
            expected["nebula_route_classes_away", frozenset()] = facts["classes_away"]
            expected["nebula_route_looks_total", frozenset({("result", "done")})] = facts["looks"]
            moves = sum(value for (name, _), value in metrics.items() if name == "nebula_route_moves_total")
            pairs.append(("moves between routes", moves, facts["moves"]))
        pairs += [(str(key), metrics.get(key), value) for key, value in expected.items() if value is not None]
    for what, one, other in pairs:
        if one != other:
            yield f"{what}: {one} and {other}"


def text_pairs(text, data):
    memory, objects = data["memory"], data["objects"]
    ladder = {"live": "live_bytes", "in pools": "pooled_bytes", "in depots": "depot_bytes", "free in slabs": "slab_free_bytes",
              "dirty spans": "dirty_span_bytes", "metadata": "metadata_bytes", "= committed": "committed_bytes",
              "purged and untouched": "untouched_bytes", "= mapped": "mapped_bytes"}
    pairs = [(f"ladder: {name}", text.ladder[name], memory[field]) for name, field in ladder.items()]
    for name, kind in (("all small", "small"), ("large", "large"), ("total", "total")):
        row = text.row(name)
        pairs += [(f"{name}: {column}", getattr(row, column), objects[kind][column])
                  for column in ("allocations", "frees", "live", "live_bytes", "slabs")]
    classes = {row["slot_bytes"]: row for row in data["size_classes"]}
    for row in text.rows:
        if row.slot_size:
            pairs += [(f"{row.name}: {column}", getattr(row, column), classes[row.slot_size][column])
                      for column in ("allocations", "frees", "live", "live_bytes", "slabs")]
    pairs += [("pid", text.pid, data["process_id"]), ("peak", text.peak["committed"], memory["committed_peak_bytes"]),
              ("peak in use", text.peak["in_use"], memory["in_use_peak_bytes"]),
              ("limit", text.budget["limit"], data["budget"]["hard_limit_bytes"]), ("options", text.options, data["options"]),
              ("internal", text.waste["internal"], data["fragmentation"]["internal_bytes"]),
              ("external", text.waste["external"], data["fragmentation"]["external_bytes"]),
              ("threads", text.threads["started"], data["threads"]["started"]),
              ("refills", text.threads["refills"], data["threads"]["refills"]),
              ("purged", text.pages["purged"], data["pages"]["purged_bytes"]),
              ("slab looks", [text.pages.get(name, 0) for name in ("slab_looks", "slab_purged")],
               [data["pages"][name] for name in ("slab_looks", "slab_purged_bytes")]),
              ("empty slabs", [text.pages.get(name, 0) for name in ("empty_slabs", "slabs")],
               [data["objects"]["small"][name] for name in ("empty_slabs", "slabs")]),
              ("reserve", [text.pages.get(f"reserve_{part}", 0) for part in ("asked", "obtained", "touched")],
               [data["pages"][f"reserve_{part}_bytes"] for part in ("asked", "obtained", "touched")]),
              ("locked", [text.pages.get(f"lock_{part}", 0) for part in ("asked", "obtained", "refusals")],
               [data["pages"][name] for name in ("lock_asked_bytes", "lock_obtained_bytes", "lock_refusals")]),
              ("hugetlb", [text.pages.get(f"hugetlb_{part}", 0) for part in ("asked", "obtained", "refusals")],
               [data["pages"][name] for name in ("hugetlb_asked_bytes", "hugetlb_obtained_bytes", "hugetlb_refusals")]),
              ("advised", text.pages.get("advised", 0), data["pages"]["advised_bytes"]),
              ("purge kind", text.pages.get("kind", "dontneed"), data["pages"]["purge_kind"]), ("advice", text.advice, data["advice"])]
    if (facts := data["auto_routes"]) is not None:
        pairs += [(f"auto: {name}", text.auto_routes.get(name), facts[field])
                  for name, field in (("moves", "moves"), ("looks", "looks"), ("missed", "missed_looks"), ("away", "classes_away"),
                                    ("microseconds", "look_microseconds"))]
        pairs += [("auto: the moves", [(move["size"], move["to"], move["reason"]) for move in text.auto_routes.get("shown", [])],
                   [(move["slot_bytes"], move["to"], move["reason"]) for move in facts["first_moves"]])]
    if text.profile:
        pairs += [(f"profile: {which} {column}", text.profile[f"{which}_{column}"], data["profile"][which][column])
                  for which in ("live", "allocated") for column in ("bytes", "objects")]
    return pairs


def check_together(found):
    """Of {path: (kind, what was read)} those of one name: the forms of one report, the two forms of a profile."""
    groups = {}
    for path, (kind, read) in found.items():
        if SUFFIXES.get(path.suffix) == kind:
            groups.setdefault(path.with_suffix(""), {})[kind] = read
    for stem, forms in groups.items():
        for words in differences(forms):
            raise Wrong(f"{stem}: {words}")
    for path, (kind, profile) in found.items():
        if kind != "pprof" or not path.name.endswith(".pb.gz"):
            continue
        for which, column in (("live", "inuse_space"), ("all", "alloc_space")):
            other = found.get(path.with_name(path.name.removesuffix(".pb.gz") + f".{which}.collapsed"))
            if other and abs(sum(other[1].values()) - profile.total(column)) > len(profile.samples):
                raise Wrong(f"{path}: {profile.total(column)} bytes, and in collapsed stacks {sum(other[1].values())}")


class Keeper:
    """What one test has left: each report is checked when it is met, and kept in a folder, which is emptied first."""

    MOST_FILES = 500

    def __init__(self, folder):
        self.folder = folder
        self.seen = {}
        self.count = 0
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, data, kind, where, situation=""):
        try:
            read = checked(data, kind)
        except Wrong as wrong:
            raise Wrong(f"a report of form {kind} in {where}: {wrong}\n{data[:3000].decode(errors='replace')}") from None
        self.count += 1
        if self.count <= self.MOST_FILES:
            self.folder.mkdir(parents=True, exist_ok=True)
            racing = kind in ("text", "json", "html", "lines") and (read.threads if kind == "text" else read["threads"])["now"] > 1
            name = ".".join([f"{self.count:04}", *(["racing"] if racing else []), *([situation] if situation else []), kind])
            (self.folder / name).write_bytes(data)
        return read

    def look_at_text(self, text, where, situation=""):
        """The reports in what a program wrote beside other things: each from its first line to its last."""
        for start in HEADING.finditer(text):
            whole = text[start.start():]
            length = report.length(whole)
            self.keep(whole[:length].encode(errors="replace"), "text", where, situation)

    def look_through(self, folder, situation="", is_over=False):
        """Files that are new, or others than before. is_over: whoever wrote them has ended by himself, so that forms of one name are of
        one report."""
        found = {}
        for path in sorted(folder.rglob("*")):
            if FORGED in path.parts or "browser" in path.parts or path.suffix == ".part" or path.is_symlink() or not path.is_file():
                continue
            try:
                facts = path.stat()
                mark = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
                if self.seen.get(path) == mark:
                    continue
                self.seen[path] = mark
                data = path.read_bytes()
            except (FileNotFoundError, PermissionError):
                continue
            if kind := kind_of(data):
                found[path] = (kind, self.keep(data, kind, path, situation))
        if is_over:
            check_together(found)


def main(paths):
    status, found = 0, {}
    for path in map(Path, paths):
        try:
            data = path.read_bytes()
            kind = kind_of(data)
            if kind is None:
                raise Wrong("no report")
            found[path] = (kind, checked(data, kind))
            print(f"{path}: {kind}, right")
        except (Wrong, OSError) as wrong:
            print("\n".join(f"{path}: {line}" for line in str(wrong).split("\n")))
            status = 1
    try:
        check_together(found)
    except Wrong as wrong:
        print(wrong)
        status = 1
    return status


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: reports.py FILE...")
    sys.exit(main(sys.argv[1:]))
