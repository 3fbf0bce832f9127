#!/usr/bin/python3
"""Writes preload/order.ld, which tells GNU ld, by the places of its own script, to put the functions that every program runs
side by side.

The kernel maps a library's pages in groups of 16 around the one that is touched, and counts them as resident: with the
functions in the order of the rooms a program of one allocation had all 84 pages of code mapped. What is run is what callgrind
saw in short runs of the workloads and of python: first without any variable set, then with a report. Names that a later version has
no more do no harm.

A group begins at a multiple of its size, so the library says that it wants to lie at one (the alignment of .text.first; glibc 2.35 and later
heed it), or chance decides whether what is run lies in two groups or three. What every program runs and what most do is in the
first group of the code, the report in the second; constants lie behind what the loader reads anyway, those of rare forms and the
tables for unwinding last. The padding before the code keeps one segment next to the other: a gap would be one more mapping.

Where in a line of 64 bytes the fast paths begin makes a difference of 2 to 5 % of threadtest and shbench (Zen 5; at 0 and 16 slower, at
32 and 48 faster), so it is not left to chance either.

Once in a while: preload/order.py LIBRARY WORKLOADS (build/dev/tests/golden/libnebula_still.so build/dev/bench/workload; not the
library itself, because valgrind knows the names only of what lies in .text)
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

ALONE = ["cfrac", "fragmentation", "growth", "lru-cache"]
THREADS = ["calloc", "churn", "json", "larson", "mstress", "realloc-growth", "rptest", "strings", "thread-churn", "xmalloc"]
# Large objects that grow, and a child of fork.
GROWING = "import os; b = bytearray()\nfor i in range(300): b += bytes(20_000)\nif os.fork(): os.wait()"
# A program that allocates once or twice.
TRIVIAL = ["/bin/cat", "/dev/null"]
# What is met by chance only.
ALSO = {"_ZN6nebula4Lock9lock_slowEj", "_ZN6nebula7Changes4waitERNS_4LockEj", "_ZN6nebula7Changes8announceEv", "_ZN6nebula4bump4tickERNS0_4MineE"}
FAST = {"malloc", "free", "calloc", "realloc", "_Znwm", "_ZdlPvm"}
FAST_PLACE = "    . = ALIGN(64) + 32;\n"
REPORT = {"NEBULA_STATS": "text", "NEBULA_STATS_FILE": "FOLDER/%p.txt", "NEBULA_BUDGET": "8G"}
ELSEWHERE = ({"NEBULA_STATS": "1"}, {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": "/dev/null"})

GROUP = 64 * 1024  # what the kernel maps around a page: 16 pages, at a multiple of as many

PART = r"('\d+|\.(constprop|isra|part)\b.*)$"  # what a compiler or callgrind adds to a name
PREFIXES = (".text", ".text.startup", ".text.exit", ".text.unlikely")

RARE = "EXCLUDE_FILE(" + " ".join(f"*{name}.cpp.o" for name in (
    "report_html_form", "report_json_form", "report_prometheus_form", "report_leaks", "os_page_file", "profiling_output",
    "profiling_pprof", "profiling_unwind_rule")) + ")"
HEAD = f"""\
/* Written by preload/order.py, which says why: constants, but for those of forms that are rare; functions that every program runs,
   then what a report at exit adds; the rest. */
SECTIONS
{{
  .rodata : {{ *({RARE} .rodata {RARE} .rodata.*) }}
  .eh_frame_hdr : {{ *(.eh_frame_hdr) }}
  .eh_frame : {{ KEEP(*(.eh_frame)) }}
  .gcc_except_table : {{ *(.gcc_except_table .gcc_except_table.*) }}
  .rodata.rare : {{
    *(.rodata .rodata.*)
    . = ALIGN({GROUP});
  }}
}}
INSERT AFTER .rela.plt;
SECTIONS
{{
"""
# What the compiler's and libc's archives add, and the calls into libc.
FROM_ELSEWHERE = """\
    *libgcc.a:*(.text)
    *libc_nonshared.a:*(.text)
  }
  .plt : { *(.plt) *(.iplt) }
"""
TAIL = """\
}
INSERT BEFORE .init;
"""


def functions_of(profile, library):
    """The library's functions in a callgrind file, mangled, with the numbers it has for repeated names resolved."""
    names, found, is_ours = {}, set(), False
    for line in profile.read_text().splitlines():
        match = re.match(r"(c?fn|c?ob)=\((\d+)\)(?: (.*))?$", line)
        if match is None:
            continue
        kind, number, name = match.groups()
        key = (kind[-2:], number)
        if name is not None:
            names[key] = name
        if kind == "ob":
            is_ours = names[key].endswith(library.name)
        elif kind == "fn" and is_ours:
            found.add(re.sub(PART, "", names[key]))
    return found


def executed(library, runs, variables):
    """How many of the processes ran each function."""
    found = Counter()
    with tempfile.TemporaryDirectory() as folder:
        variables = {name: value.replace("FOLDER", folder) for name, value in variables.items()}
        for run in runs:
            subprocess.run(
                ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={folder}/callgrind.%p", *run],
                env={**os.environ, **variables, "LD_PRELOAD": str(library)}, check=True, capture_output=True)
        for profile in Path(folder).glob("callgrind.*"):  # of children of fork, too
            found.update(functions_of(profile, library))
    return found


def main():
    library, workloads = (Path(argument).resolve() for argument in sys.argv[1:])
    symbols = subprocess.run(["nm", "--defined-only", "--numeric-sort", library], check=True, capture_output=True, text=True).stdout
    places = defaultdict(list)  # a function may have several names, of which its section has one
    for address, kind, name in (line.split() for line in symbols.splitlines()):
        if kind in "tTwW" and ".cold" not in name:
            places[address].append(re.sub(PART, "", name))
    runs = [[f"{workloads}/{name}", "--scale", "0.01"] for name in ALONE]
    runs += [[f"{workloads}/{name}", "--scale", "0.01", "--threads", "2"] for name in THREADS]
    runs += [["/usr/bin/python3", "-c", GROWING]]
    first = executed(library, [TRIVIAL], {})
    always = executed(library, runs, {}) + Counter(ALSO)
    report = executed(library, runs, REPORT)
    for variables in ELSEWHERE:
        report += executed(library, [TRIVIAL], variables)
    script, placed = HEAD, set()
    for section, functions in ((".text.first", first), (".text.always", always), (".text.report", report)):
        script += f"  {section} : {f'ALIGN({GROUP}) ' if functions is first else ''}{{\n"
        # What most programs run comes first; else in the order of the rooms.
        for names in sorted(places.values(), key=lambda names: -max(functions[name] for name in names)):
            if not placed.isdisjoint(names) or functions.keys().isdisjoint(names):
                continue
            placed.update(names)
            if not FAST.isdisjoint(names):
                script += FAST_PLACE
            for name in names:
                script += "    *(" + " ".join(f"{prefix}.{name} {prefix}.{name}.*" for prefix in PREFIXES) + ")\n"
        script += FROM_ELSEWHERE if functions is first else "  }\n"
    (Path(__file__).resolve().parent / "order.ld").write_text(script + TAIL)


if __name__ == "__main__":
    main()
