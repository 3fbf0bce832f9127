"""Runs programs under a preloaded library and judges what they did; the drivers of misuse, hazard and golden share it.

A test is a function of one Context. It raises Failure (with what was run, so that it can be repeated by hand) or Skip
(with what this machine cannot do); every check of a test goes through Context.expect or Outcome's methods.
"""

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import reports

SKIPPED = 77  # what meson takes for "skipped"


class Failure(Exception):
    """A test found something wrong."""


class Skip(Exception):
    """This machine cannot run the test."""


def status_name(status):
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


@dataclass
class Outcome:
    """What one run of a program left behind. status is negative for a signal, as in subprocess."""

    command: str
    status: int
    output: str
    errors: str

    def fail(self, text):
        raise Failure(f"{text}\n  command: {self.command}\n  ended with {status_name(self.status)}\n"
                      f"  stdout: {self.output!r}\n  stderr: {self.errors!r}")

    def ended(self, status):
        if self.status != status:
            self.fail(f"expected {status_name(status)}")
        return self

    def said(self, pattern, text=None):
        """The pattern is found in stderr (or in text)."""
        if not re.search(pattern, self.errors if text is None else text, re.MULTILINE):
            self.fail(f"expected to find /{pattern}/")
        return self

    def quiet(self):
        if self.errors:
            self.fail("expected nothing on stderr")
        return self

    def printed(self, text):
        if self.output != text:
            self.fail(f"expected {text!r} on stdout")
        return self


@dataclass
class Context:
    """The library under test, where the programs of this suite were built, and a folder that is thrown away."""

    library: Path
    programs: Path
    scratch: Path
    update: bool  # write what was measured into the golden file, instead of comparing
    keeper: reports.Keeper  # of the reports that programs of this test write

    def keep_reports(self, situation="", is_over=False):
        """Checks and keeps what came to the folder since it was last asked; each run does it by itself, and so does the test's end."""
        try:
            self.keeper.look_through(self.scratch, situation, is_over)
        except reports.Wrong as wrong:
            raise Failure(str(wrong)) from None

    def program(self, name):
        return str(self.programs / name)

    def expect(self, condition, text):
        if not condition:
            raise Failure(text)

    def run(self, command, variables=None, preload=None, before=None, timeout=250, **popen):
        """Runs a command under the library, with no NEBULA_ variable but the given ones. `before` runs in the child."""
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(("NEBULA_", "LD_", "MALLOC_", "GLIBC_TUNABLES"))}
        changes = {"LC_ALL": "C", "LD_PRELOAD": str(self.library) if preload is None else preload, **(variables or {})}
        environment.update(changes)
        shown = shlex.join(["env", *(f"{key}={value}" for key, value in changes.items()), *map(str, command)])
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        process = subprocess.Popen([str(word) for word in command], env=environment, preexec_fn=before,
                                   start_new_session=True, **popen)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"hung for {timeout} s\n  command: {shown}") from None
        finally:
            # Nothing of it outlives the test: not what hangs, and not the children of what failed.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        outcome = Outcome(shown, process.returncode, (output or b"").decode(errors="replace"),
                          (errors or b"").decode(errors="replace"))
        if "cannot be preloaded" in outcome.errors:
            outcome.fail("the library was not loaded")
        situation = "killed" if process.returncode < 0 else ""
        self.keep_reports(situation, is_over=not situation)
        try:
            self.keeper.look_at_text(outcome.errors, "standard error", situation)
        except reports.Wrong as wrong:
            outcome.fail(str(wrong))
        return outcome


def ended_by_signal(number, _frame):
    raise SystemExit(128 + number)


def run_test(name, function, library, programs, update):
    """True if it passed, None if it was skipped, False if it failed; says so on stdout."""
    with tempfile.TemporaryDirectory(prefix="nebula-test-") as scratch:
        os.chmod(scratch, 0o755)
        keeper = reports.Keeper(programs.parent / "kept" / programs.name / name)
        context = Context(library, programs, Path(scratch), update, keeper)
        try:
            function(context)
            context.keep_reports()
        except Skip as reason:
            print(f"skipped: {reason}")
            return None
        except Failure as failure:
            print(f"failed: {failure}")
            return False
        except Exception:  # a broken test is a failed test
            traceback.print_exc(file=sys.stdout)
            return False
    print("passed")
    return True


def main(tests):
    """The command line of a driver; tests maps a name to a function of one Context."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true", help="print the names of the tests")
    parser.add_argument("--library", type=Path, help="the library to preload")
    parser.add_argument("--programs", type=Path, help="the folder the programs of this suite were built in")
    parser.add_argument("--update", action="store_true", help="accept what is measured as the new golden file")
    parser.add_argument("names", nargs="*", help="the tests to run (default: all)")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(tests))
        return
    if not arguments.library or not arguments.library.exists():
        sys.exit(f"no library at {arguments.library}")
    signal.signal(signal.SIGTERM, ended_by_signal)  # so that a test that is stopped cleans up
    results = {}
    for name in arguments.names or tests:
        print(f"{name}: ", end="", flush=True)
        results[name] = run_test(name, tests[name], arguments.library.resolve(), arguments.programs.resolve(), arguments.update)
    failed = [name for name, result in results.items() if result is False]
    if len(results) > 1:
        print(f"{len(results)} tests, failed: {', '.join(failed) or 'none'}")
    if failed:
        sys.exit(1)
    if all(result is None for result in results.values()):
        sys.exit(SKIPPED)
