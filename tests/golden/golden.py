#!/usr/bin/python3
"""Speed as a diff: the instructions that each entry point executes, counted by callgrind, against a golden file.

Each loop runs twice, short and long; the difference of what its calls cost, divided by the difference of their number,
is exact: start-up and warming up cancel. An integer is a path that is the same every time; a decimal is a mean, with
refills and flushes spread over the objects. The library counted is one whose clock stands still (tests/support/still_clock.cpp):
housekeeping by the clock would come more often the slower callgrind runs.

After a change that means to alter the counts: golden.py --library … --programs … --update instructions
"""

import difflib
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402
from harness import Failure, Skip  # noqa: E402

GOLDEN = Path(__file__).resolve().parent / "instructions.txt"

SHORT, LONG = 1_000, 101_000
SHORT_BURSTS, LONG_BURSTS = 100_000, 300_000  # objects, a multiple of the program's burst

LOOPS = [("loop", kind, size) for kind, sizes in (
    ("pair", (16, 64, 512, 1024, 1025, 4096, 32768)),
    ("calloc", (16, 64, 512)),
    ("aligned", (64, 512)),
    ("realloc", (64, 512, 4096)),
    ("move", (64, 1024)),
    ("usable_size", (64, 4096)),
    ("burst", (16, 64, 512)),
) for size in sizes] + [("loop_new", kind, 64) for kind in ("new", "new_sized", "new_aligned")]

EVERYTHING_ON = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": "/dev/null", "NEBULA_BUDGET": "16G"}
# libc's copies and fills differ from processor to processor: the plain ones are everywhere.
PLAIN_LIBC = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM",
    "LD_BIND_NOW": "1",
}


def calls_made_by_loop(profile):
    """{name of the function called: (calls, instructions they took)} by the functions measure…, from a callgrind file."""
    calls = defaultdict(lambda: [0, 0])
    in_loop = False
    callee, pending = None, None
    for line in profile.read_text().splitlines():
        if pending is not None:  # the line after "calls=": position and inclusive cost
            if in_loop:
                calls[callee][0] += pending
                calls[callee][1] += int(line.split()[1])
            pending = None
        elif line.startswith("fn="):
            in_loop = line.startswith("fn=measure")
        elif line.startswith("cfn="):
            callee = line[4:]
        elif line.startswith("calls="):
            pending = int(line[6:].split()[0])
    return calls


def canonical_names(library):
    """{a symbol: the name to show}: entry points that share an address go by the shortest of their names."""
    listing = subprocess.run(["nm", "--dynamic", "--defined-only", library], check=True, capture_output=True, text=True)
    by_address = defaultdict(list)
    for line in listing.stdout.splitlines():
        address, _, name = line.split()
        by_address[address].append(name.split("@")[0])
    return {name: min(names, key=lambda n: (len(n), n)) for names in by_address.values() for name in names}


def profile_loop(test, program, kind, size, times, variables):
    profile = test.scratch / "profile"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--compress-strings=no",
               "--compress-pos=no", "--demangle=no", test.program(program), kind, size, times]
    test.run(command, {**PLAIN_LIBC, **variables}, timeout=300).ended(0)
    return calls_made_by_loop(profile)


def measure(test, loops, variables):
    """Lines of the golden file."""
    names = canonical_names(test.library)
    lines = []
    for program, kind, size in loops:
        short, long = (SHORT_BURSTS, LONG_BURSTS) if kind == "burst" else (SHORT, LONG)
        few = profile_loop(test, program, kind, size, short, variables)
        many = profile_loop(test, program, kind, size, long, variables)
        found = 0
        for name, (calls, cost) in sorted(many.items()):
            more_calls, more_cost = calls - few[name][0], cost - few[name][1]
            if more_calls == 0:
                continue
            if more_calls != long - short:
                raise Failure(f"{kind} {size}: {name} was called {more_calls} times more, expected {long - short}")
            is_exact = kind != "burst" and more_cost % more_calls == 0
            mean = f"{more_cost // more_calls}" if is_exact else f"{more_cost / more_calls:.1f}"
            lines.append(f"{kind} {size} {names.get(name, name)} {mean}")
            found += 1
        if found == 0:
            raise Failure(f"{kind} {size}: callgrind saw no call of an entry point")
    return lines


def compiler_of(library):
    """What the compiler wrote into the library about itself."""
    section = subprocess.run(["readelf", "--string-dump=.comment", library], check=True, capture_output=True, text=True)
    return " + ".join(sorted(set(re.findall(r"\]\s+(.+)", section.stdout)))) or "unknown"


def instructions(test):
    compiler = f"# {compiler_of(test.library)}"
    head = ["# Instructions per call: loop, size, entry point, count. Written by golden.py --update instructions.", compiler]
    golden = GOLDEN.read_text().splitlines() if GOLDEN.exists() else []
    if golden and golden[1] != compiler and not test.update:
        raise Skip(f"the library was built by {compiler[2:]}, the golden file holds for {golden[1][2:]}")
    measured = head + measure(test, LOOPS, {})
    if test.update:
        GOLDEN.write_text("\n".join(measured) + "\n")
        return
    if measured != golden:
        difference = "\n".join(difflib.unified_diff(golden, measured, GOLDEN.name, "measured", n=0, lineterm=""))
        raise Failure(f"the instruction counts changed:\n{difference}\nIf that is meant: {__file__} --library "
                      f"{test.library} --programs {test.programs} --update instructions")


def features_cost_nothing(test):
    """Statistics and a budget add no instruction to the paths that every allocation takes."""
    loops = [("loop", "pair", 64), ("loop", "calloc", 64), ("loop_new", "new_sized", 64)]
    without, with_all = measure(test, loops, {}), measure(test, loops, EVERYTHING_ON)
    test.expect(without == with_all, f"with statistics and a budget: {with_all}\nwithout: {without}")


def needs_libc_alone(test):
    dynamic = subprocess.run(["readelf", "--dynamic", test.library], check=True, capture_output=True, text=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic))
    test.expect("libc.so.6" in needed and needed <= {"libc.so.6", "ld-linux-x86-64.so.2"},
                f"{test.library} needs {' '.join(sorted(needed)) or 'nothing'}")


if __name__ == "__main__":
    harness.main({function.__name__: function for function in (instructions, features_cost_nothing, needs_libc_alone)})
