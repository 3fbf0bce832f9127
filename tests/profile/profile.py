#!/usr/bin/python3
"""Heap profiles of programs whose allocations are known: the estimates, the stacks, and that go's pprof reads them."""

import math
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402
import json_report  # noqa: E402
import pprof  # noqa: E402
import report  # noqa: E402

MIB = 1 << 20
SIGMAS = 6  # an estimate is farther off once in 500 million


def profiled(test, program, *arguments, period, variables=None, **options):
    """Runs a program and returns its outcome and the profiles it has left, by path."""
    folder = test.scratch / "profiles"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    variables = {"NEBULA_PROFILE": str(period), "NEBULA_PROFILE_FILE": f"{folder}/%e.%p.pb.gz", "NEBULA_STATS": "1",
                 "NEBULA_STATS_FILE": f"{test.scratch}/report.%p", **(variables or {})}
    outcome = test.run([program, *arguments], variables, **options).ended(0).quiet()
    for path in test.scratch.glob("report.*"):
        report.checked(path.read_text())
        path.unlink()
    return outcome, {path: pprof.read(path) for path in sorted(folder.glob("*.pb.gz"))}


def only(profiles):
    harness_failure = f"one profile was expected, there are {[str(path) for path in profiles]}"
    if len(profiles) != 1:
        raise harness.Failure(harness_failure)
    return next(iter(profiles.items()))


def go_pprof(test, *arguments):
    environment = {"PATH": "/usr/bin:/bin:/usr/lib/go-1.19/bin", "HOME": str(test.scratch), "PPROF_TMPDIR": str(test.scratch)}
    done = subprocess.run(["go", "tool", "pprof", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120)
    test.expect(done.returncode == 0, f"go tool pprof {arguments}: {done.stdout}{done.stderr}")
    return done.stdout


def function_names(test, path):
    """{address: name of the function}, as go's pprof finds symbols afterwards, from the build's own files."""
    symbolized = test.scratch / "forged/symbolized.pb.gz"  # not a report of ours
    symbolized.parent.mkdir(exist_ok=True)
    go_pprof(test, "-proto", "-symbolize=local", f"-output={symbolized}", path)
    return pprof.function_names(symbolized)


def by_function(test, path, profile):
    """{function of the program: [objects and bytes allocated, objects and bytes in use]}, for stacks that lead through it."""
    names = function_names(test, path)
    sums = defaultdict(lambda: [0, 0, 0, 0])
    stacks = []
    for sample in profile.samples:
        stack = [names.get(profile.locations[location][1], "?") for location in sample.locations]
        stacks.append(stack)
        for name in set(stack):
            for i, value in enumerate((sample.alloc_objects, sample.alloc_space, sample.inuse_objects, sample.inuse_space)):
                sums[name][i] += value
    return sums, stacks


def expect_near(test, name, what, estimate, truth, period):
    deviation = math.sqrt(truth * period) if truth else 0
    test.expect(abs(estimate - truth) <= SIGMAS * deviation + 1,
                f"{name}: {what} estimated {estimate}, in truth {truth}, deviation {deviation:.0f}")


def estimates_of_known_amounts(test):
    """Sites of every kind: LIFO pairs, runs, zeroed, aligned, resized and handed over; the estimates are within their error."""
    mebibytes, period = 64, 65536
    path, profile = only(profiled(test, test.program("known"), mebibytes, period=period)[1])
    sums, _ = by_function(test, path, profile)
    whole = mebibytes * MIB
    expected = {
        "pairs_of_48": (whole, 0),
        "keep_112": (whole, whole),
        "keep_half_of_4096": (whole, whole // 2),
        "hand_over_1024": (whole, 0),
        "keep_256": (2 * (whole // 2), 2 * (whole // 2)),
        "recurse": (whole, whole),
    }
    for name, (allocated, in_use) in expected.items():
        test.expect(name in sums, f"no stack leads through {name}: {sorted(sums)}")
        expect_near(test, name, "allocated bytes", sums[name][1], allocated, period)
        expect_near(test, name, "bytes in use", sums[name][3], in_use, period)
    expect_near(test, "grow_large", "bytes in use", sums["grow_large"][3], whole, period)
    objects = whole / 48
    test.expect(abs(sums["pairs_of_48"][0] - objects) <= SIGMAS * math.sqrt(objects * period / 48), f"objects {sums['pairs_of_48']}")


def every_allocation_at_a_period_of_one(test):
    """With a byte between samples nothing is left to chance: the profile is exact."""
    path, profile = only(profiled(test, test.program("known"), 1, period=1)[1])
    sums, _ = by_function(test, path, profile)
    count = math.ceil(MIB / 112)
    test.expect(sums["keep_112"] == [count, count * 112, count, count * 112], f"keep_112: {sums['keep_112']}")
    count = math.ceil(MIB / 48)
    test.expect(sums["pairs_of_48"] == [count, count * 48, 0, 0], f"pairs_of_48: {sums['pairs_of_48']}")
    test.expect(sums["grow_large"][2:] == [1, MIB], f"grow_large: {sums['grow_large']}")


def stacks_from_inside_out(test):
    """Without frame pointers, through realigned frames, tail of a long recursion: who called whom."""
    path, profile = only(profiled(test, test.program("known"), 16, period=65536)[1])
    _, stacks = by_function(test, path, profile)
    for chain in (["leaf_small", "middle", "keep_112", "main"], ["leaf_small", "middle", "pairs_of_48", "main"],
                  ["keep_256", "realigned", "main"], ["recurse"] * 100, ["hand_over_1024", "main"]):
        found = any(stack[:len(chain)] == chain for stack in stacks)
        test.expect(found, f"no stack begins {chain}; there are {sorted({' '.join(stack[:5]) for stack in stacks})}")
    # Behind main come two frames of libc and the program's own start.
    for stack in stacks:
        test.expect("main" not in stack or stack[-4] == "main", f"a stack does not reach the program's start: {stack}")
    in_stacks = {profile.locations[location][0] for sample in profile.samples for location in sample.locations}
    own = [index for index, mapping in profile.mappings.items() if "libnebula" in mapping.path]
    test.expect(not in_stacks & set(own), "the library's own frames are in the stacks")
    test.expect(next(iter(profile.mappings.values())).path == test.program("known"), "the program's is not the first mapping")


def through_handlers_and_made_code(test):
    """A handler's stack goes on in what it interrupted; code without tables is passed by its frame pointer."""
    path, profile = only(profiled(test, test.program("handler"), period=65536)[1])
    _, stacks = by_function(test, path, profile)
    handled = [stack for stack in stacks if stack[:1] == ["handle"]]
    test.expect(handled and all("interrupted" in stack and "main" in stack for stack in handled), f"{stacks}")
    made = [stack for stack in stacks if stack[:1] == ["called_by_made_code"]]
    test.expect(made and all("calls_made_code" in stack and "main" in stack for stack in made), f"{stacks}")


def plugins_that_are_gone(test):
    """A module that was closed is still named, with its build id."""
    _, profiles = profiled(test, test.program("closes_plugin"), test.program("plugin.so"), period=65536)
    path, profile = only(profiles)
    mapping = [each for each in profile.mappings.values() if each.path.endswith("/plugin.so")]
    test.expect(len(mapping) == 1, f"mappings {profile.mappings}")
    notes = subprocess.run(["readelf", "--notes", test.program("plugin.so")], check=True, capture_output=True, text=True).stdout
    test.expect(re.search(r"Build ID: (\w+)", notes)[1] == mapping[0].build_id, f"build id {mapping}, the file has {notes}")
    sums, _ = by_function(test, path, profile)
    expect_near(test, "plugin_makes", "bytes in use", sums["plugin_makes"][3], 1000 * 10240, 65536)


def forks_among_threads(test):
    """Each process writes its own; a child shows what it had from its parent, too."""
    _, profiles = profiled(test, test.program("forks"), period=65536, timeout=170)
    test.expect(len(profiles) == 21, f"{len(profiles)} profiles")
    children = 0
    for path, profile in profiles.items():
        sums, _ = by_function(test, path, profile) if children < 3 or "in_child" not in str(path) else ({}, [])
        is_child = "in_child" in sums
        children += is_child
        expect_near(test, str(path), "in_parent's bytes in use", sums["in_parent"][3], 10000 * 1008, 65536)
        if is_child:
            expect_near(test, str(path), "in_child's bytes in use", sums["in_child"][3], 10000 * 1008, 65536)
    test.expect(children == 20, f"{children} profiles of children")


def collapsed_stacks(test):
    """The same sums, a line for each site; every frame names a file and an address in it."""
    folder = test.scratch / "profiles"
    _, profiles = profiled(test, test.program("known"), 8, period=65536, variables={"NEBULA_PROFILE_FORM": "pprof,collapsed"})
    _, profile = only(profiles)
    for which, total in (("live", profile.total("inuse_space")), ("all", profile.total("alloc_space"))):
        lines = next(folder.glob(f"*.{which}.collapsed")).read_text().splitlines()
        modules = [line for line in lines if line.startswith("# ")]
        lines = lines[:-len(modules)]
        test.expect(lines and modules, f"no line in {which}")
        expected = {f"# module {Path(each.path).name} {each.build_id or '-'} {each.path}" for each in profile.mappings.values()}
        test.expect(set(modules) == expected, f"{modules} at the end, and the profile has {expected}")
        sizes = 0
        for line in lines:
            stack, _, size = line.rpartition(" ")
            sizes += int(size)
            for frame in stack.split(";"):
                test.expect(re.fullmatch(r"(\S+\+)?0x[0-9a-f]+|\(more\)|unknown", frame), f"frame {frame!r} in {line!r}")
        test.expect(abs(sizes - total) <= len(lines), f"{which}: {sizes} bytes in lines, {total} in the profile")
    _, profiles = profiled(test, test.program("known"), 1, period=65536, variables={"NEBULA_PROFILE_FORM": "collapsed"})
    test.expect(not profiles and len(list(folder.iterdir())) == 2, f"{list(folder.iterdir())}")


def go_reads_every_view(test):
    path, _ = only(profiled(test, test.program("known"), 16, period=65536)[1])
    for index in ("alloc_objects", "alloc_space", "inuse_objects", "inuse_space"):
        top = go_pprof(test, "-top", "-nodecount=5", f"-sample_index={index}", path)
        test.expect(f"Type: {index}" in top and "flat%" in top, top)
    test.expect("keep_112" in go_pprof(test, "-peek=keep_112", path), "-peek")
    test.expect("Type: inuse_space" in go_pprof(test, "-top", path), "in use is what is shown when nobody asks")


def files_that_cannot_be_written(test):
    """Named with the reason; the program ends as it would."""
    outcome = test.run([test.program("known"), 1], {"NEBULA_PROFILE": "64K", "NEBULA_PROFILE_FILE": f"{test.scratch}/none/p"}).ended(0)
    outcome.said(r"^nebula: the profile cannot be written to \S+/none/p: no such folder$")
    full = test.scratch / "full"
    full.symlink_to("/dev/full")
    outcome = test.run([test.program("known"), 1], {"NEBULA_PROFILE": "64K", "NEBULA_PROFILE_FILE": str(full)}).ended(0)
    outcome.said(rf"^nebula: the profile could not be written to {full} to its end$")
    test.expect(full.is_symlink() and Path("/dev/full").is_char_device(), "a device was replaced by a file")
    pipe = test.scratch / "pipe"
    os.mkfifo(pipe)
    outcome = test.run([test.program("known"), 1], {"NEBULA_PROFILE": "64K", "NEBULA_PROFILE_FILE": str(pipe)}).ended(0)
    outcome.said(rf"^nebula: the profile cannot be written to {pipe}: neither a file nor a character device$")
    test.expect(pipe.is_fifo(), "a pipe was replaced by a file")


def values_that_are_none(test):
    for variable, value, form in (("NEBULA_PROFILE", "often", "0 or a size"), ("NEBULA_PROFILE_FORM", "svg", "pprof, collapsed"),
                                  ("NEBULA_PROFILE_FILE", "", "a path")):
        outcome = test.run([test.program("known"), 1], {variable: value}).ended(0)
        outcome.said(rf"^nebula: {variable}={value} is not understood; accepted: {form}")


def under_a_budget(test):
    """What a profile takes is charged, and the books agree."""
    for budget, period in (("16M", 4096), ("24M", 65536)):
        path, profile = only(profiled(test, test.program("known"), 1, period=period, variables={"NEBULA_BUDGET": budget})[1])
        test.expect(profile.samples, f"{path} is empty")
    # Not even the tables fit: the program runs without.
    outcome = test.run([test.program("closes_plugin"), test.program("plugin.so")], {"NEBULA_PROFILE": "64K", "NEBULA_BUDGET": "600K"})
    outcome.said("^nebula: there is no memory for a profile; running without$")


def on_signal_and_interval(test):
    """Each has its own file: none is overwritten by the next, nor by the last one, unless its name says so."""
    signals = 3
    for form, endings in (("pprof", [".pb.gz"]), ("collapsed", [".live.collapsed", ".all.collapsed"])):
        for pattern, name in (("%e.pb.gz", "sends_signal.{}"), ("%n", "{}")):
            _, profiles = profiled(test, test.program("sends_signal"), signals, period=65536, variables={
                "NEBULA_STATS_SIGNAL": "USR2", "NEBULA_PROFILE_FORM": form, "NEBULA_PROFILE_FILE": f"{test.scratch}/profiles/{pattern}"})
            last = name.format(signals + 1) if pattern == "%n" else "sends_signal"
            names = [*(name.format(number) for number in range(1, signals + 1)), last]
            # Without an ending of its own, pprof's file has the name as it stands.
            endings_here = [""] if (pattern, form) == ("%n", "pprof") else endings
            found = sorted(path.name for path in (test.scratch / "profiles").iterdir())
            test.expect(found == sorted(name + ending for name in names for ending in endings_here), f"{pattern}, {form}: {found}")
            if form == "pprof":
                # The program keeps 4 MiB more before each signal, and frees all of it at the end.
                in_use = [pprof.read(test.scratch / "profiles" / (name + endings_here[0])).total("inuse_space") for name in names]
                for number, estimate in enumerate(in_use):
                    expect_near(test, names[number], "bytes in use", estimate, (number + 1) * 4 * MIB if number < signals else 0, 65536)
    _, profiles = profiled(test, test.program("sends_signal"), 0, 1, period=65536, variables={
        "NEBULA_STATS_INTERVAL": "100ms", "NEBULA_STATS_FILE": f"{test.scratch}/lines"})
    numbers = sorted(int(path.name.split(".")[2]) for path in profiles if path.name.count(".") == 4)
    test.expect(5 <= len(numbers) <= 11 and numbers == list(range(1, len(numbers) + 1)), f"{[str(path) for path in profiles]} in a second")
    test.expect(len(profiles) == len(numbers) + 1, f"no last one: {list(profiles)}")
    for path in test.scratch.glob("lines*"):
        json_report.checked_file(path) if path.suffix == ".jsonl" else None
        path.unlink()


def lives(test):
    """How long objects lived, by powers of two: the same in every form, and near what is known."""
    variables = {"NEBULA_STATS": "text,json,prometheus", "NEBULA_STATS_FILE": f"{test.scratch}/out", "NEBULA_PROFILE": "64K",
                 "NEBULA_PROFILE_FILE": f"{test.scratch}/p"}
    test.run([test.program("sends_signal"), "0", "0", "lives"], variables).ended(0).quiet()
    text = report.checked((test.scratch / "out.txt").read_text())
    data = json_report.checked((test.scratch / "out.json").read_text())["profile"]
    # 8 MiB lived for 150 ms or a little more, 16 MiB live for as long already, 8 MiB were freed at once.
    freed = {row["below_microseconds"]: row["bytes"] for row in data["freed_by_lifetime"]}
    live = {row["below_microseconds"]: row["bytes"] for row in data["live_by_age"]}
    long, short = 1 << 18, 1 << 14
    expect_near(test, "lives", "bytes freed after 150 ms", sum(size for end, size in freed.items() if end >= long), 8 * MIB, 65536)
    expect_near(test, "lives", "bytes freed at once", sum(size for end, size in freed.items() if end <= short), 8 * MIB, 65536)
    expect_near(test, "lives", "bytes alive after 150 ms", sum(size for end, size in live.items() if end >= long), 16 * MIB, 65536)
    names = dict(zip(report.ENDS_OF_LIVES, report.NAMES_OF_LIVES))
    for end, size in freed.items():
        test.expect(text.profile["lives"][names[end]]["bytes_freed"] == size, f"{end} in {text.profile}")
    for end, size in live.items():
        test.expect(text.profile["lives"][names[end]]["bytes_live"] == size, f"{end} in {text.profile}")
    prometheus = (test.scratch / "out.prom").read_text()
    for which in ("live", "allocated"):
        test.expect(text.profile[f"{which}_bytes"] == data[which]["bytes"], f"{which}: {text.profile}, {data}")
        test.expect(text.profile[f"{which}_objects"] == data[which]["objects"], f"{which}: {text.profile}, {data}")
        test.expect(text.profile[f"{which}_error"] == data[which]["bytes_standard_error"], f"{which}: {text.profile}, {data}")
        for name, value in (("bytes", "bytes"), ("objects", "objects"), ("standard_error_bytes", "bytes_standard_error")):
            found = re.search(rf'^nebula_profile_{name}{{.*of="{which}"}} (\d+)$', prometheus, re.MULTILINE)
            test.expect(found and int(found[1]) == data[which][value], f"nebula_profile_{name} of {which}: {prometheus}")
    profile = pprof.read(test.scratch / "p")
    for which, kind in (("live", "inuse_space"), ("allocated", "alloc_space")):
        test.expect(abs(profile.total(kind) - data[which]["bytes"]) <= len(profile.samples) + 1, f"{kind}: {profile.total(kind)}, {data}")


@dataclass
class Leaks:
    objects: int
    bytes: int
    kept: int
    sizes: dict  # {name: (objects, bytes)}
    sites: list  # (bytes, error, objects, samples, frames)


def read_leaks(test, errors):
    """The report of leaks, every line of which is known, and that its sums are those of its parts."""
    lines = errors.splitlines()
    number = report.number
    head = re.fullmatch(r"nebula leaks: \S+, pid \d+: ([\d,]+) objects?, ([\d,]+) bytes still allocated at the exit", lines[0])
    kept = re.fullmatch(r"  \(and ([\d,]+) objects, [\d,]+ bytes that the C and C\+\+ libraries and the loader keep\)", lines[1])
    test.expect(head and kept, errors)
    leaks = Leaks(number(head[1]), number(head[2]), number(kept[1]), {}, [])
    at = 2
    if leaks.objects:
        test.expect(lines[at:at + 2] == ["", "by size, exact               objects               bytes"], errors)
        at += 2
        while found := re.fullmatch(r"  (size [\d,]+|large|in blocks|in handlers|total) +([\d,]+) +([\d,]+)", lines[at]):
            leaks.sizes[found[1]] = (number(found[2]), number(found[3]))
            at += 1
        test.expect(leaks.sizes.pop("total") == (leaks.objects, leaks.bytes), errors)
        for column, whole in enumerate((leaks.objects, leaks.bytes)):
            test.expect(sum(row[column] for row in leaks.sizes.values()) == whole, errors)
        test.expect(lines[at] == "", errors)
        head = re.fullmatch(r"by call site, estimated from ([\d,]+) samples?, one in [\d,]+ bytes", lines[at + 1])
        test.expect(head, errors)
        at += 2
        while at < len(lines):
            line = lines[at]
            at += 1
            if found := re.fullmatch(r"  about ([\d,]+) bytes \(standard error ([\d,]+)\) in ([\d,]+) objects, from ([\d,]+) samples?", line):
                leaks.sites.append((*(number(text) for text in found.groups()), []))
            elif found := re.fullmatch(r"      (\S+\+0x[0-9a-f]+|0x[0-9a-f]+|unknown|\(more\)|\(no room for its stack\))", line):
                leaks.sites[-1][4].append(found[1])
            elif re.fullmatch(r"  and [\d,]+ other sites", line):
                test.expect(len(leaks.sites) == 20, errors)
            else:
                test.expect(number(head[1]) == 0 and line.startswith("  none of it was a sample: NEBULA_PROFILE"), f"{line!r} in {errors}")
        if len(leaks.sites) < 20:
            test.expect(sum(site[3] for site in leaks.sites) == number(head[1]), errors)
    test.expect(at == len(lines), f"unknown: {lines[at:]}")
    return leaks


def leaks_of(test, command, period=None, output=None, **variables):
    wish = {"NEBULA_LEAKS": "1", **variables, **({"NEBULA_PROFILE": str(period), "NEBULA_PROFILE_FILE": f"{test.scratch}/p"} if period else {})}
    outcome = test.run(command, wish).ended(0)
    if output is not None:
        outcome.printed(output)
    return read_leaks(test, outcome.errors)


KNOWN_LEAKS = {"size 48": (100, 4800), "size 1,008": (7, 7056), "size 10,240": (3, 30720), "large": (1, 102400)}


def leaks_of_c(test):
    """Exact by size whatever the period; libc's buffers, the loader's tables of threads that are gone are none."""
    for period in (None, 1, 1000, 512 * 1024):
        none = leaks_of(test, [test.program("leaks"), "none"], period, "done\n")
        test.expect(none.objects == 0 and none.bytes == 0, f"period {period}: {none}")
        test.expect(none.kept >= 2, f"period {period}: libc keeps a buffer and its environment: {none}")
        leaks = leaks_of(test, [test.program("leaks"), "leaks"], period, "done\n")
        test.expect(leaks.sizes == KNOWN_LEAKS, f"period {period}: {leaks}")
    # Bump blocks have no size classes: what is left in them is exact together, in steps of 16 bytes.
    test.expect(leaks_of(test, [test.program("leaks"), "none"], NEBULA_ROUTE="bump").objects == 0, "something is left in blocks")
    leaks = leaks_of(test, [test.program("leaks"), "leaks"], NEBULA_ROUTE="bump")
    objects, size = 110, 100 * 48 + 7 * 1008 + 3 * 10000
    sizes = dict(leaks.sizes)
    # An object that is a sample, one in 512 KiB by lot, lies in a slot of its own and in no block.
    for name, slot, in_block in (("size 48", 48, 48), ("size 1,008", 1008, 1008), ("size 10,240", 10240, 10000)):
        samples, in_slots = sizes.pop(name, (0, 0))
        test.expect(in_slots == samples * slot, f"{leaks}")
        objects, size = objects - samples, size - samples * in_block
    test.expect(sizes == {"in blocks": (objects, size), "large": KNOWN_LEAKS["large"]}, f"{leaks}")


def leaks_by_site(test):
    """With every allocation a sample, a site is exact and without error; its frames are where addr2line finds the functions."""
    leaks = leaks_of(test, [test.program("leaks"), "leaks"], 1)
    found = {}
    for size, error, objects, samples, frames in leaks.sites:
        test.expect(error == 0 and samples == objects, f"{size} bytes in {objects} objects: error {error}, {samples} samples")
        addresses = [frame.split("+")[1] for frame in frames if frame.startswith("leaks+")]
        names = subprocess.run(["addr2line", "-f", "-s", "-e", test.program("leaks"), addresses[0]], check=True, capture_output=True,
                               text=True).stdout.splitlines()
        sums = found.setdefault(names[0], [0, 0])
        sums[0] += objects
        sums[1] += size
    test.expect(found == {"leave_small": [107, 11856], "leave_large": [4, 133120]}, f"{found}")
    # By lot, estimates: two in three are within one standard error, all within six.
    leaks = leaks_of(test, [test.program("leaks"), "leaks"], 4096)
    estimate, variance = sum(site[0] for site in leaks.sites), sum(site[1] ** 2 for site in leaks.sites)
    test.expect(abs(estimate - leaks.bytes) <= SIGMAS * max(math.sqrt(variance), 4096), f"{estimate} of {leaks}")


def leaks_of_static_objects(test):
    """What destructors of static objects free is not left, nor what the C++ library keeps for exceptions."""
    for period in (None, 1):
        none = leaks_of(test, [test.program("static_objects")], period, "caught 6000\n")
        test.expect(none.objects == 0, f"{none}")
        leaks = leaks_of(test, [test.program("static_objects"), "25"], period, "caught 6000\n")
        test.expect(leaks.sizes == {"size 32": (25, 25 * 32), "size 512": (25, 25 * 512)}, f"{leaks}")


def leaks_of_python_and_bash(test):
    """Programs that leave much, always the same: what a run leaves more is exact."""
    script = "import ctypes\nmalloc = ctypes.CDLL(None).malloc\nmalloc.restype = ctypes.c_void_p\nfor _ in range({}): malloc(3000)\n"
    counts = []
    for wanted in (0, 1234):
        leaks = leaks_of(test, ["/usr/bin/python3", "-I", "-S", "-c", script.format(wanted)], PYTHONHASHSEED="0")
        counts.append(leaks.sizes.get("size 3,072", (0, 0)))
    test.expect((counts[1][0] - counts[0][0], counts[1][1] - counts[0][1]) == (1234, 1234 * 3072), f"{counts}")
    counts = []
    for wanted in (100, 600):
        loop = f"printf -v word %03000d 1; for ((i = 0; i < {wanted}; ++i)); do declare v$i=$word; done"
        leaks = leaks_of(test, ["bash", "--norc", "-c", loop])
        counts.append(leaks.sizes.get("size 3,072", (0, 0)))
    test.expect(counts[1][0] - counts[0][0] == 500, f"{counts}")


def leaks_are_told_once(test):
    """Not by children of a fork, not without a wish; beside a report and a profile, under a budget that leaves no room."""
    outcome = test.run([test.program("forks")], {"NEBULA_LEAKS": "1"}, timeout=170).ended(0)
    test.expect(outcome.errors.count("nebula leaks: ") == 1, outcome.errors)
    test.run([test.program("leaks"), "leaks"]).ended(0).quiet()
    variables = {"NEBULA_LEAKS": "1", "NEBULA_STATS": "json", "NEBULA_STATS_FILE": f"{test.scratch}/out"}
    outcome = test.run([test.program("leaks"), "leaks"], variables).ended(0)
    test.expect(read_leaks(test, outcome.errors).sizes == KNOWN_LEAKS, outcome.errors)
    data = json_report.checked((test.scratch / "out").read_text())
    test.expect(data["profile"]["period_bytes"] == 512 * 1024, f"{data['profile']}")
    test.expect(not list(test.scratch.glob("*.pb.gz")), "a profile that nobody has asked for")
    outcome = test.run([test.program("leaks"), "leaks"], {"NEBULA_LEAKS": "1", "NEBULA_BUDGET": "700K"})
    outcome.said("^nebula: there is no memory for a profile; running without$").said("^nebula leaks: leaks, pid")
    outcome.said(r"^  \(among them what the C and C\+\+ libraries").said("^by call site: unknown, there was no memory for samples$")


def leaks_at_other_ends(test):
    """Before _exit as a report is, when that is asked for; never before execve or at an abort, where nothing has come to its end."""
    path = test.scratch / "p.pb.gz"
    for period in ("1", None):
        profile = {"NEBULA_PROFILE": period, "NEBULA_PROFILE_FILE": str(path)} if period else {}
        wish = {"NEBULA_LEAKS": "1", "NEBULA_STATS_BEFORE": "_exit", **profile, "NEBULA_STATS_FILE": f"{test.scratch}/out"}
        outcome = test.run([test.program("leaks"), "leaks", "_exit"], wish).ended(0).printed("done\n")
        leaks = read_leaks(test, outcome.errors)
        test.expect(leaks.sizes == KNOWN_LEAKS and (bool(leaks.sites) or not period), f"{leaks}")
        test.expect(report.checked((test.scratch / "out").read_text()).reason == "_exit", "no report before _exit")
        test.expect(path.exists() == bool(period), "the profile")
        if period:
            test.expect(pprof.read(path).total("inuse_space") >= sum(size for _, size in KNOWN_LEAKS.values()), "less than what is left")
            path.unlink()
        test.run([test.program("leaks"), "leaks", "_exit"], {**wish, "NEBULA_STATS_BEFORE": "execve"}).ended(0).quiet()
        test.expect(not path.exists(), "a profile that was not asked for")
    for how, ended, errors in (("execve", 0, 1), ("abort", -signal.SIGABRT, 0)):
        wish = {"NEBULA_LEAKS": "1", "NEBULA_STATS_BEFORE": "_exit,execve", "NEBULA_STATS_ON_CRASH": "1", "NEBULA_STATS_FILE": f"{test.scratch}/%n"}
        outcome = test.run([test.program("leaks"), "leaks", how], wish).ended(ended)
        # What execve made of the process is another program, with an exit of its own.
        test.expect(outcome.errors.count("nebula leaks: ") == errors and "nebula leaks: leaks" not in outcome.errors, outcome.errors)


if __name__ == "__main__":
    harness.main({function.__name__: function for function in (
        estimates_of_known_amounts, every_allocation_at_a_period_of_one, stacks_from_inside_out, through_handlers_and_made_code,
        plugins_that_are_gone, forks_among_threads, collapsed_stacks, go_reads_every_view, files_that_cannot_be_written,
        values_that_are_none, under_a_budget, on_signal_and_interval, lives, leaks_of_c, leaks_by_site, leaks_of_static_objects,
        leaks_of_python_and_bash, leaks_are_told_once, leaks_at_other_ends)})
