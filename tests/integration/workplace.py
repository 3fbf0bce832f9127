"""Runs real programs without and with the library and compares what they do.

A case gets a Workplace. `compare` runs its steps twice, each time in a fresh folder: plainly, and with the library
preloaded. Exit statuses, stdout, stderr and the files left in the folder must be the same, every report that the
library wrote must add up, and each program named in `reports` must have written one. `preloaded` runs the steps
with the library only, for what cannot be compared: a program under a budget.
"""

import filecmp
import fnmatch
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, NamedTuple

HERE = Path(__file__).resolve().parent
WORKLOADS = HERE / 'workloads'
sys.path.insert(0, str(HERE.parent / 'support'))
import report  # noqa: E402
import reports  # noqa: E402

SEARCH_PATH = '/usr/bin:/bin'
STEP_SECONDS = 300


class Failure(Exception):
    """The case did not go as it must; the text says how."""


class Outcome(NamedTuple):
    """What a list of steps left behind."""

    statuses: list
    folder: Path
    stdout: Path
    stderr: Path
    reports: list  # of report.Report

    def describe(self):
        return f'statuses {self.statuses}\nstdout ends:\n{tail(self.stdout)}\nstderr ends:\n{tail(self.stderr)}'


def tail(path, size=3000):
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors='replace')


def unchanged(text):
    return text


class Workplace:
    def __init__(self, folder: Path, library: Path, keeper: reports.Keeper | None):
        self.folder = folder
        self.library = library
        self.keeper = keeper  # None: no reports are expected
        self.inputs = folder / 'inputs'
        self.inputs.mkdir()
        self._numbers = itertools.count(1)

    def compare(self, *steps, reports=(), ignore=(), view: Callable[[str], str] = unchanged, **options):
        """Runs the steps in both ways. `ignore` names files (patterns) that may differ, `view` turns stdout and
        stderr into what must be the same."""
        plain = self._run('plain', steps, {}, **options)
        if any(plain.statuses):
            raise Failure(f'fails without the library too\n{plain.describe()}')
        preloaded = self.preloaded(*steps, reports=reports, **options)
        if preloaded.statuses != plain.statuses:
            raise Failure(f'other exit statuses with the library than {plain.statuses}\n{preloaded.describe()}')
        for name in ('stdout', 'stderr'):
            require_same_text(name, getattr(plain, name), getattr(preloaded, name), view)
        require_same_files(plain.folder, preloaded.folder, ignore)
        shutil.rmtree(plain.folder)
        shutil.rmtree(preloaded.folder)

    def preloaded(self, *steps, reports=(), variables=None, **options):
        written = self.folder / f'reports-{next(self._numbers)}'
        written.mkdir()
        outcome = self._run('preloaded', steps, {
            'LD_PRELOAD': str(self.library),
            'NEBULA_STATS': '1',
            'NEBULA_STATS_FILE': f'{written}/%p.%e.txt',
            **(variables or {}),
        }, **options)
        if self.keeper:
            outcome.reports.extend(checked_reports(self.keeper, written, reports, outcome))
        return outcome

    def _run(self, name, steps, variables, seconds=STEP_SECONDS, environment=None):
        # Both ways run in a folder of the same name: compilers write it into what they make.
        running = self.folder / 'running'
        running.mkdir()
        home = self.folder / 'home'
        home.mkdir(exist_ok=True)
        everything = {'PATH': SEARCH_PATH, 'LC_ALL': 'C.UTF-8', 'HOME': str(home), 'TMPDIR': str(home),
                      **(environment or {}), **variables}
        folder = self.folder / f'{name}-{next(self._numbers)}'
        outcome = Outcome([], folder, folder.with_suffix('.stdout'), folder.with_suffix('.stderr'), [])
        with outcome.stdout.open('wb') as stdout, outcome.stderr.open('wb') as stderr:
            for step in steps:
                outcome.statuses.append(run_step(step, running, everything, stdout, stderr, seconds))
        running.rename(folder)
        return outcome


def program(name):
    """Where the program is; a name with a slash, such as that of a program just compiled, is its own place."""
    if '/' in name:
        return name
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise Failure(f'the program {name} is missing; scripts/setup.sh test installs it')
    return path


def run_step(step, folder, environment, stdout, stderr, seconds):
    command = [program(step[0]), *map(str, step[1:])]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stdout,
                               stderr=stderr, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise Failure(f'not done after {seconds} seconds: {" ".join(command)}') from None
    finally:
        # A step leads a session of its own: whatever it left running ends with it.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def require_same_text(name, plain, preloaded, view):
    if filecmp.cmp(plain, preloaded, shallow=False):
        return
    pair = [view(path.read_text(errors='backslashreplace')).splitlines() for path in (plain, preloaded)]
    if pair[0] == pair[1]:
        return
    for number, lines in enumerate(itertools.zip_longest(*pair), start=1):
        if lines[0] != lines[1]:
            raise Failure(f'{name} differs at line {number}\n   plainly: {lines[0]}\n with the library: {lines[1]}')


def files_below(folder, ignore):
    names = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file() or path.is_symlink()}
    return {name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in ignore)}


def require_same_files(plain, preloaded, ignore):
    names = files_below(plain, ignore)
    difference = names ^ files_below(preloaded, ignore)
    if difference:
        raise Failure(f'files that only one of the two runs left: {sorted(difference)[:10]}')
    different = [name for name in sorted(names)
                 if not filecmp.cmp(plain / name, preloaded / name, shallow=False)]
    if different:
        raise Failure(f'files with other contents: {different[:10]}')


def checked_reports(keeper, folder, wanted, outcome):
    """The reports in the folder, after checking each of them and that every wanted program wrote one."""
    found_reports = []
    found = Counter()
    for path in sorted(folder.iterdir()):
        try:
            found_reports.append(keeper.keep(path.read_bytes(), 'text', path.name))
        except reports.Wrong as wrong:
            raise Failure(str(wrong)) from None
        found[path.stem.partition('.')[2]] += 1
    for name in wanted:
        if found[name] == 0:
            raise Failure(f'no report by {name}; reports by {dict(found)}\n{outcome.describe()}')
    return found_reports
