#!/usr/bin/python3
"""Which cache lines of the library's own data go from one thread to another, and from where in the source: counted, not sampled, on
any machine (bench/lines/hooks.c says how), for a library that is built for it. The objects themselves are the program's and are not
counted. A run takes a hundred times as long as without; the numbers depend on how the threads happen to run.

    bench/lines.py --build DIR -- build/bench/workload/realloc-growth --threads 2 --rounds 20

DIR is made if it is not there, and brought up to date."""

import argparse
import bisect
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINE = 64


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"lines: {command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder):
    """The library, with the hooks in it."""
    folder.mkdir(parents=True, exist_ok=True)
    hooks = folder / "hooks.o"
    run("gcc", "-O2", "-fPIC", "-c", str(ROOT / "bench/lines/hooks.c"), "-o", str(hooks))
    if not (folder / "build.ninja").exists():
        run("meson", "setup", "-Dbuildtype=release", "-Dtests=false", "-Dbench=false", "-Dtool=false", "-Dcpp_args=-fsanitize=thread -g",
            f"-Dc_link_args={hooks}", str(folder), str(ROOT))
    library = folder / "preload/libnebula.so"
    if library.exists() and library.stat().st_mtime < hooks.stat().st_mtime:
        library.unlink()
    run("ninja", "-C", str(folder), "preload/libnebula.so")
    return library


def read(text):
    """(total reads and writes, [(address, reads, writes, [(where, count)])]) of what the hooks print."""
    total, lines = None, []
    for row in text.splitlines():
        words = row.split()
        if words[:1] == ["transfers"]:
            total = int(words[1]), int(words[2])
        elif total and words and words[0].startswith("0x"):
            numbers = [int(word, 0) for word in words]
            lines.append((*numbers[:3], list(zip(numbers[3::2], numbers[4::2], strict=True))))
        elif words[:1] == ["lost"]:
            print(f"lines: {words[1]} accesses were to more lines than there is room for", file=sys.stderr)
    return total, lines


class Symbols:
    def __init__(self, library):
        rows = (row.split(maxsplit=2) for row in run("nm", "-nC", str(library)).splitlines())
        self._data = [(int(row[0], 16), row[2]) for row in rows if len(row) == 3 and row[1] in "bBdD"]
        self._library = library
        self._known = {}

    def place(self, where):
        """`where` is behind the call; 0: all that have no place of their own."""
        if where == 0:
            return "elsewhere"
        if where not in self._known:
            out = run("addr2line", "-fiC", "-e", str(self._library), hex(where - 1)).splitlines()
            frames = list(zip(out[::2], out[1::2], strict=True))  # what is inlined first
            name, file = next((frame for frame in frames if "/src/" in frame[1]), frames[-1])
            self._known[where] = f"{name.split('(')[0]} ({Path(file.split(' ')[0]).name})"
        return self._known[where]

    def data(self, address):
        i = bisect.bisect_right(self._data, (address + LINE - 1, "\xff")) - 1
        return self._data[i][1] if i >= 0 else "?"


def image_of(text, library):
    """Where the library lay: hooks print addresses as they are."""
    for row in text.splitlines():
        if row.startswith("image "):
            return int(row.split()[1], 0)
    sys.exit(f"lines: {library} says nothing: is the program dynamically linked?")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="folder of the library for this")
    parser.add_argument("--most", type=int, default=12, help="how many lines to show (64 at most)")
    parser.add_argument("program", nargs="+", help="and its arguments")
    options = parser.parse_args()
    library = build(options.build.resolve())
    done = subprocess.run(options.program, env={**os.environ, "LD_PRELOAD": str(library)}, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"lines: {options.program[0]} ended with {done.returncode}:\n{done.stderr}")
    image, (total, lines) = image_of(done.stderr, library), read(done.stderr)
    symbols = Symbols(library)
    end = library.stat().st_size + (1 << 22)
    print(f"{total[0] + total[1]} lines went from one thread to another: {total[0]} for a read, {total[1]} for a write")
    for address, reads, writes, places in lines[: options.most]:
        of = symbols.data(address - image) if image <= address < image + end else "mapped"
        print(f"{(reads + writes) / max(1, sum(total)):6.1%}  {address:#x}  {of}")
        for where, count in sorted(places, key=lambda place: -place[1]):
            print(f"        {count:8}  {symbols.place(where)}")


if __name__ == "__main__":
    main()
