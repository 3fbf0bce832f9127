"""Our own workload programs, one process for each case. Each says what it can do with --list, one variant and its
arguments a line, and prints one line of JSON about a run."""

import json
import shlex
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runs import Run, RunFailure, run_to_end


@contextmanager
def empty_folder(scratch):
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Workload:
    name: str
    measure: Path
    command: list
    kind = "workload"

    def prepare(self):
        """Nothing stands in the way: it brings what it needs."""

    def run(self, allocator, scratch):
        cost, said = self._run(self.command, allocator, scratch)
        phases = {phase["name"]: phase["resident"] for phase in said.get("phases", [])}
        # One that counts no operations, such as a program that allocates and exits, is judged by the clock on the wall.
        counts = said["operations"] > 0 and said["seconds"] > 0
        return Run.of(cost, said["seconds"] / said["operations"] if counts else None, phases)

    def run_latency(self, allocator, scratch):
        _, said = self._run([*self.command, "--latency"], allocator, scratch)
        return said.get("latency", {})

    def _run(self, command, allocator, scratch):
        with empty_folder(scratch) as folder:
            cost, stdout, _ = run_to_end(self.measure, command, allocator.environment(folder), folder)
            text = stdout.read_text(errors="replace")
        try:
            said = json.loads(text)
            said["operations"], said["seconds"]
        except (ValueError, KeyError, TypeError):
            raise RunFailure(f"printed no line of JSON with operations and seconds, but: {text[:300]!r}") from None
        return cost, said


def find(folder, measure):
    """All cases of all programs in the folder, one for each variant."""
    cases = []
    for binary in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not binary.is_file() or not binary.stat().st_mode & 0o111 or binary.suffix in (".so", ".a"):
            continue
        listing = subprocess.run([binary, "--list"], capture_output=True, text=True, timeout=60)
        if listing.returncode != 0:
            raise RunFailure(f"{binary} --list ended with status {listing.returncode}: {listing.stderr.strip()}")
        for line in listing.stdout.splitlines():
            variant, _, arguments = line.partition("\t")
            # Most variants say which program they belong to.
            name = variant if variant.startswith(binary.name) else f"{binary.name}/{variant}"
            cases.append(Workload(name, measure, [str(binary), *shlex.split(arguments)]))
    return cases
