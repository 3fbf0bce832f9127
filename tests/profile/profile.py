#!/usr/bin/python3
"""Heap profiles of programs whose allocations are known: the estimates, the stacks, and that go's pprof reads them."""

import math
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402
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
    symbolized = test.scratch / "symbolized.pb.gz"
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
        test.expect(lines, f"no line in {which}")
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


if __name__ == "__main__":
    harness.main({function.__name__: function for function in (
        estimates_of_known_amounts, every_allocation_at_a_period_of_one, stacks_from_inside_out, through_handlers_and_made_code,
        plugins_that_are_gone, forks_among_threads, collapsed_stacks, go_reads_every_view, files_that_cannot_be_written,
        values_that_are_none, under_a_budget)})
