#!/usr/bin/python3
"""The command `nebula`: every subcommand with real programs, every error with its words and status, the terminal view in a
pseudo-terminal, and the live page of programs that are stopped, busy, forked or killed."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402
import report as text_report  # noqa: E402
from harness import Skip  # noqa: E402

OWN_FAILURE, NOT_RUNNABLE, NOT_FOUND = 125, 126, 127
NOBODY = 65534
MIB = 1 << 20
README = Path(__file__).resolve().parents[2] / "README.md"

TESTS = {}


def test(function):
    TESTS[function.__name__] = function
    return function


def tool_of(test):
    return test.programs.parent.parent / "src/tool/nebula"


def nebula(test, *words, variables=None, **options):
    """Runs the command itself, without any preload; pages go into the scratch folder."""
    return test.run([tool_of(test), *words], {"XDG_RUNTIME_DIR": str(test.scratch), **(variables or {})}, preload="", **options)


def refused(test, words, said, status=OWN_FAILURE, **options):
    outcome = nebula(test, *words, **options).ended(status).printed("")
    outcome.said(said)
    if outcome.errors.count("\n") > 2:
        outcome.fail("expected one or two lines")
    return outcome


def eventually(test, condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        test.expect(time.monotonic() < deadline, f"not so after {seconds} s: {what}")
        time.sleep(0.02)
    return result


@contextlib.contextmanager
def running(test, *words, variables=None):
    """A program under the library that shows its page; yields it with the process ids that said "ready"."""
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith(("NEBULA_", "LD_"))},
                   "XDG_RUNTIME_DIR": str(test.scratch), "LD_PRELOAD": str(test.library), "NEBULA_LIVE": "1", **(variables or {})}
    expected = 2 if "fork" in words else 1
    program = subprocess.Popen([str(word) for word in words], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        ready = [int(program.stdout.readline().split()[1]) for _ in range(expected)]
        program.ready = sorted(ready, key=lambda pid: pid != program.pid)  # itself first
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        for stream in (program.stdin, program.stdout, program.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def pages(test):
    folder = test.scratch / "nebula"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def number(text):
    return int(text.replace(",", ""))


class Exact:
    """What `nebula top --once PID` printed."""

    def __init__(self, text):
        self.text = text
        self.ladder = {}
        self.rows = {}
        self.threads = []
        self.accounts = {}  # limit, charged, peak, hits, refused
        part = ""
        for line in text.splitlines()[2:]:
            if not line.startswith("  "):
                part = line.split()[0]
            elif part.startswith("memory"):
                name, value = re.fullmatch(r"  (.*?) +([\d,]+)", line).groups()
                self.ladder[name] = number(value)
            elif part == "objects":
                name, *values = re.fullmatch(r"  (.{12})" + r" +([\d,]+)" * 7, line).groups()
                self.rows[name.strip()] = [number(value) for value in values]
            elif part == "threads":
                words = line.split(maxsplit=4)
                self.threads.append((int(words[0]), number(words[1]), number(words[2]), words[4]))
            elif part == "accounts" and (found := re.fullmatch(r"  (\S.{35}) *" + r" +([\d,]+)" * 5, line)):
                self.accounts[found[1].strip()] = [number(value) for value in found.groups()[1:]]

    def problems(self):
        ladder = self.ladder
        parts = sum(ladder[name] for name in ("live", "in pools", "in depots", "idle", "metadata"))
        if parts != ladder["= committed"]:
            yield f"the ladder adds up to {parts}"
        classes = [row for name, row in self.rows.items() if name.startswith("size ")]
        small = [sum(row[i] for row in classes) for i in range(7)]
        if small != self.rows["all small"]:
            yield f"the classes add up to {small}"
        for name, row in self.rows.items():
            if row[0] - row[1] != row[2]:
                yield f"{name}: allocations less frees are not what lives"
        total = [self.rows["all small"][i] + self.rows["large"][i] for i in range(4)]
        if total != self.rows["total"][:4] or total[3] != ladder["live"]:
            yield f"small and large add up to {total}"


def exact(test, pid, check=True):
    outcome = nebula(test, "top", "--once", pid).ended(0).quiet()
    seen = Exact(outcome.output)
    found = list(seen.problems())
    if check and found:
        outcome.fail("; ".join(found))
    return seen


# help

@test
def help_explains_every_variable(test):
    table = re.findall(r"^\| `(NEBULA_\w+)` \| (.+) \| (.+) \| (.+) \|$", README.read_text(), re.MULTILINE)
    test.expect(len(table) >= 10, f"README.md's table has {len(table)} variables")
    listed = nebula(test, "help").ended(0).quiet().output
    for name, accepted, default, meaning in table:
        words = nebula(test, "help", name).ended(0).quiet().output
        lines = [line.strip() for line in words.splitlines()]
        test.expect(lines[:2] == [name, meaning] and f"accepted: {accepted}" in lines and f"default:  {default}" in lines, words)
        test.expect(f"  {name} " in listed, f"{name} is not in `nebula help`")
        flag = "--" + name[7:].lower().replace("_", "-")
        for other in (name[7:].lower(), flag if flag != "--help" else name):
            test.expect(nebula(test, "help", other).ended(0).output == words, f"help {other} differs")
    for command in ("run", "check", "top", "report", "symbolize", "diff", "help", "completion"):
        test.expect(re.search(rf"^  {command} ", listed, re.MULTILINE), f"{command} is not in `nebula help`")
        nebula(test, command, "--help").ended(0).quiet().said("Usage: nebula", nebula(test, command, "--help").output)


@test
def help_errors(test):
    refused(test, ["help", "budegt"], r"budegt is not a variable of Nebula; did you mean NEBULA_BUDGET\?")
    refused(test, ["help", "quantum-entanglement"], r"quantum-entanglement is not a variable of Nebula; `nebula help` lists them")
    refused(test, [], r"subcommand is required")
    refused(test, ["frobnicate"], r"there is no command frobnicate; `nebula --help` lists them")
    refused(test, ["--frobnicate"], r"unknown option --frobnicate; `nebula --help` lists them")
    version = nebula(test, "--version").ended(0).quiet()
    version.said(r"^nebula \d+\.\d+\.\d+$", version.output)


# run

@test
def run_sets_the_variables_and_becomes_the_program(test):
    outcome = nebula(test, "run", "--budget", "64M", "--live", "--stats", "text:here.txt", "--on-misuse", "warn", "--", "env", cwd=test.scratch)
    outcome.ended(0).quiet()
    lines = outcome.output.splitlines()
    for line in (f"LD_PRELOAD={test.library}", "NEBULA_BUDGET=64M", "NEBULA_LIVE=1", "NEBULA_STATS=text", "NEBULA_ON_MISUSE=warn",
                 f"NEBULA_STATS_FILE={test.scratch}/here.txt"):
        test.expect(line in lines, f"{line} is not in {lines}")
    text_report.checked((test.scratch / "here.txt").read_text())
    kept = nebula(test, "run", "--", "printenv", "NEBULA_BUDGET", "LD_PRELOAD", variables={"NEBULA_BUDGET": "77M", "LD_PRELOAD": "libm.so.6"})
    kept.ended(0).printed(f"77M\n{test.library}:libm.so.6\n")
    over = nebula(test, "run", "--budget", "78M", "printenv", "NEBULA_BUDGET", variables={"NEBULA_BUDGET": "77M"})
    over.ended(0).printed("78M\n")


@test
def run_leaves_the_program_its_own(test):
    nebula(test, "run", "sh", "-c", "echo said; echo wrong >&2; exit 7").ended(7).printed("said\n").said("^wrong$")
    nebula(test, "run", "--", "sh", "-c", "kill -9 $$").ended(-signal.SIGKILL)
    nebula(test, "run", "echo", "--budget", "--", "-n").ended(0).printed("--budget -- -n\n")
    nebula(test, "run", "--", "echo", "--help", "--").ended(0).printed("--help --\n")
    given = test.scratch / "input"
    given.write_text("through\n")
    with given.open() as stdin:
        nebula(test, "run", "cat", stdin=stdin).ended(0).printed("through\n")
    bare = test.scratch / "bare"
    bare.write_text("echo no first line\n")
    bare.chmod(0o755)
    nebula(test, "run", bare).ended(0).printed("no first line\n")


@test
def run_errors(test):
    refused(test, ["run"], r"no program; `nebula run \[OPTIONS\] -- PROGRAM")
    refused(test, ["run", "--frob", "true"], r"unknown option --frob")
    refused(test, ["run", "no-such-program"], r"program not found: no-such-program", NOT_FOUND)
    refused(test, ["run", "/etc/passwd"], r"not a program that can be run: /etc/passwd", NOT_RUNNABLE)
    refused(test, ["run", test.scratch], r"not a program that can be run", NOT_RUNNABLE)
    refused(test, ["run", "--budget", "lots", "true"], r"NEBULA_BUDGET=lots is not understood; accepted: .*64M")
    refused(test, ["run", "--stats", "pigeon", "true"], r"NEBULA_STATS=pigeon is not understood; accepted: .*json")
    refused(test, ["run", "--stats", "json:", "true"], r"--stats json:: no file behind the colon")
    refused(test, ["run", "--budget"], r"--budget requires 1|1 required")
    refused(test, ["run", "--library", "/nowhere/libnebula.so", "true"], r"the library is not there; looked for: /nowhere/libnebula.so")
    spaced = test.scratch / "a b"
    spaced.mkdir()
    shutil.copy(test.library, spaced)
    refused(test, ["run", "--library", spaced / test.library.name, "true"], r"LD_PRELOAD cannot name a library whose path has a space or a colon: /.*/a b/")


@test
def run_does_not_drop_a_limit_in_silence(test):
    static = test.program("trivial_static")
    nebula(test, "run", static).ended(7).said(r"trivial_static is statically linked, .*: Nebula does not reach it$")
    refused(test, ["run", "--budget", "64M", static], r"is statically linked.*; not running it without NEBULA_BUDGET")
    refused(test, ["run", static], r"not running it without NEBULA_BUDGET_SOFT", variables={"NEBULA_BUDGET_SOFT": "64M"})


# check

@test
def check_says_yes(test):
    outcome = nebula(test, "check", "--", test.program("trivial")).ended(0).quiet()
    for words in (r"^program   \S*/trivial: ELF 64-bit, x86-64, loaded by /lib64/ld-linux-x86-64\.so\.2$", rf"^library   {test.library}$",
                  r"^loader    binds malloc of \d files? to the library$", r"^run       ended with status 7; [1-9]\d* allocations served$",
                  r"^yes       Nebula serves the program$"):
        outcome.said(words, outcome.output)
    python = nebula(test, "check", "/usr/bin/python3", "-c", "import os; print('here', flush=True); os._exit(3)").ended(0).quiet()
    python.said(r"^here$", python.output).said(r"^yes       Nebula serves the program$", python.output)
    script = test.scratch / "script"
    script.write_text("#!/usr/bin/env bash\n/bin/true; /bin/true; exit 4\n")
    script.chmod(0o755)
    outcome = nebula(test, "check", script).ended(0).quiet()
    outcome.said(r"^script    .*/script is a script run by bash$", outcome.output)
    outcome.said(r"ended with status 4; [\d,]+ allocations served, and 2 processes that it started$", outcome.output)
    unstarted = nebula(test, "check", "--no-run", "--", "touch", test.scratch / "touched").ended(0).quiet()
    unstarted.said(r"^yes       the loader gives the program Nebula's malloc$", unstarted.output)
    test.expect(not (test.scratch / "touched").exists(), "the program was run")


@test
def check_ends_what_does_not_end(test):
    for command in (["sleep", "1000"], ["sh", "-c", "trap '' TERM; while :; do :; done"]):
        outcome = nebula(test, "check", "--seconds", "0.6", "--", *command).ended(0).quiet()
        outcome.said(r"^run       stopped after 0.6 s; [1-9][\d,]* allocations served$", outcome.output)


@test
def check_says_why_not(test):
    def no(words, said, **options):
        outcome = nebula(test, "check", *words, **options).ended(1)
        outcome.said(rf"^no        .*{said}", outcome.output)

    no([test.program("trivial_static")], "is statically linked, so that no loader reads LD_PRELOAD")
    image = bytearray(Path(test.program("trivial")).read_bytes())
    arm = test.scratch / "arm"
    image[18:20] = struct.pack("<H", 183)
    arm.write_bytes(image)
    arm.chmod(0o755)
    no([arm], "is a 64-bit AArch64 program, and the library is 64-bit x86-64")
    image[18:20] = struct.pack("<H", 62)
    musl = test.scratch / "musl"
    musl.write_bytes(bytes(image).replace(b"/lib64/ld-linux-x86-64.so.2\0", b"/lib/ld-musl-x86_64.so.1\0\0\0\0"))
    musl.chmod(0o755)
    no([musl], r"is loaded by /lib/ld-musl-x86_64\.so\.1\S*, not by glibc's loader")
    own = nebula(test, "check", test.program("own_malloc")).ended(1)
    own.said(r"^file      it has a malloc of its own in it", own.output)
    own.said(r"^no        the program uses the malloc that is linked into it$", own.output)


@test
def check_names_other_allocators(test):
    library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
    outcome = nebula(test, "check", test.program("trivial"), variables={"LD_PRELOAD": library}).ended(0)
    outcome.said(rf"^preload   LD_PRELOAD has {library} already, which is an allocator too; Nebula is put before it$", outcome.output)
    outcome.said(r"^yes ", outcome.output)


@test
def check_knows_gained_privileges(test):
    if os.geteuid() != 0:
        raise Skip("only root can try it as somebody else")
    copy = test.scratch / "trivial"
    shutil.copy(test.program("trivial"), copy)
    copy.chmod(0o4755)
    library = test.scratch / test.library.name
    shutil.copy(test.library, library)
    command = test.scratch / "nebula-command"
    shutil.copy(tool_of(test), command)
    outcome = test.run([command, "check", "--library", library, copy], preload="", before=lambda: os.setuid(NOBODY)).ended(1)
    outcome.said(r"^no        trivial gains privileges", outcome.output)


@test
def check_errors(test):
    refused(test, ["check"], r"check: no program")
    refused(test, ["check", "--frob", "true"], r"unknown option --frob")
    refused(test, ["check", "no-such-program"], r"program not found: no-such-program", NOT_FOUND)
    refused(test, ["check", "--seconds", "0", "true"], r"--seconds")
    broken = test.scratch / "libnebula.so"
    broken.write_text("not a library")
    # Not by nebula(): the loader's own words on stderr are those by which the harness knows that nothing was tested.
    ran = subprocess.run([tool_of(test), "check", "--library", broken, test.program("trivial")], capture_output=True, text=True)
    test.expect(ran.returncode == 1 and re.search(r"^loader    .*cannot be preloaded", ran.stdout, re.MULTILINE) and
                re.search(r"^no ", ran.stdout, re.MULTILINE), f"{ran}")


# The live page and top

@test
def top_shows_every_number(test):
    with running(test, test.program("steady")) as program:
        seen = exact(test, program.pid)
        test.expect(seen.rows["large"][:4] == [2, 0, 2, 150 * MIB], f"large objects: {seen.rows['large']}")
        test.expect(seen.rows["size 48"][2] >= 10000, f"size 48: {seen.rows['size 48']}")
        test.expect(seen.ladder["= committed"] >= 150 * MIB, seen.text)
        test.expect([thread[0] for thread in seen.threads] == [program.pid], f"threads: {seen.threads}")
        test.expect(seen.threads[0][3] == "steady", f"threads: {seen.threads}")
        listing = nebula(test, "top", "--once").ended(0).quiet()
        listing.said(rf"^ *{program.pid} steady +sleeping .* 15\d\.\d MiB", listing.output)
        program.stdin.close()
        test.expect(program.wait(30) == 0, "the program failed")
        test.expect(pages(test) == [], f"the page has stayed: {pages(test)}")


@test
def top_of_a_stopped_program(test):
    with running(test, test.program("steady")) as program:
        before = exact(test, program.pid)
        os.kill(program.pid, signal.SIGSTOP)
        eventually(test, lambda: "stopped" in nebula(test, "top", "--once").output, "it is stopped")
        seen = exact(test, program.pid)
        test.expect((seen.rows, seen.threads) == (before.rows, before.threads), f"{before.text}\n{seen.text}")
        test.expect(f"pid {program.pid}, stopped" in seen.text, seen.text)
        state = Path(f"/proc/{program.pid}/status").read_text()
        test.expect("TracerPid:\t0" in state and "State:\tT" in state, "it was attached to or woken")


@test
def top_of_a_busy_program(test):
    with running(test, test.program("steady"), "spin") as program:
        seen = exact(test, program.pid)
        test.expect(seen.rows["large"][3] == 150 * MIB and "running" in seen.text, seen.text)


@test
def top_of_a_forked_program(test):
    with running(test, test.program("steady"), "fork") as program:
        parent, child = program.ready
        mine, its = exact(test, parent), exact(test, child)
        test.expect(mine.rows["large"][3] == 150 * MIB, f"parent: {mine.text}")
        test.expect(its.rows["large"][3] == 350 * MIB, f"child: {its.text}")
        test.expect([thread[0] for thread in its.threads] == [child], f"child's threads: {its.threads}")
        program.stdin.close()
        test.expect(program.wait(30) == 0 and pages(test) == [], f"left: {pages(test)}")


@test
def top_of_threads(test):
    with running(test, test.program("steady"), "threads") as program:
        seen = exact(test, program.pid)
        names = sorted(thread[3] for thread in seen.threads)
        test.expect(names == ["holder"] * 3 + ["steady"], f"{names}\n{seen.text}")
        ids = {int(name) for name in os.listdir(f"/proc/{program.pid}/task")}
        test.expect({thread[0] for thread in seen.threads} == ids, seen.text)
        test.expect(seen.rows["size 3,072"][2] >= 300, seen.text)


@test
def top_shows_accounts_of_all_kinds(test):
    variables = {"NEBULA_BUDGET_TREE": "1G", "NEBULA_BUDGET_SIZE": "16-63:8M,1M-:400M", "NEBULA_BUDGET_THREAD": "holder:8M,steady:500M"}
    with running(test, test.program("steady"), "threads", variables=variables) as program:
        seen = exact(test, program.pid)
        accounts = dict(seen.accounts)
        holders = [accounts.pop(name) for name in list(accounts) if re.fullmatch(r"thread holder \(\d+\)", name)]
        test.expect(len(holders) == 3 and all(row[0] == 8 * MIB and 100 * 3000 <= row[1] <= row[2] <= row[0] for row in holders), seen.text)
        known = {"tree of 1 process": (1 << 30, 150 * MIB), "size 16 to 63": (8 * MIB, 480_000), "size 1,048,576 to any": (400 * MIB, 150 * MIB),
                 f"thread steady ({program.pid})": (500 * MIB, 150 * MIB)}
        test.expect(set(accounts) == set(known), f"{sorted(accounts)}\n{seen.text}")
        for name, (limit, least) in known.items():
            row = accounts[name]
            test.expect(row[0] == limit and least <= row[1] <= row[2] <= limit and row[3:] == [0, 0], f"{name}: {row}\n{seen.text}")
        test.expect(re.search(r"^  all 4 accounts of threads: ([\d,]+) charged$", seen.text, re.MULTILINE), seen.text)
        screen = Terminal(test, "top", program.pid, "--interval", "0.2", columns=140)
        screen.wait_for(r"^account +charged +limit +used +hits +refused$")
        screen.wait_for(r"^size 1,048,576 to any +\[####\.{6}\] +150\.0 MiB +400\.0 MiB +3[78] % +0 +0$")
        screen.wait_for(r"^1 more$")
        screen.press(b"q")
        test.expect(screen.ended() == 0, "top failed")


@test
def top_shows_a_limit_that_is_met(test):
    work = ("import time\nx = []\ntry:\n  while True: x.append(bytes(2000000))\nexcept MemoryError: print('ready 0', flush=True)\n"
            "while True:\n  [bytes(3000) for i in range(100)]\n  time.sleep(0.01)\n")
    with running(test, "/usr/bin/python3", "-c", work, variables={"NEBULA_BUDGET_SIZE": "1M-:40M", "NEBULA_BUDGET_MODULE": "python3*:300M"}) as program:
        def is_shown():
            accounts = exact(test, program.pid, check=False).accounts
            size, module = accounts["size 1,048,576 to any"], accounts["module python3*"]
            return (size[0] == 40 * MIB and 36 * MIB < size[1] <= size[2] <= size[0] and size[3] >= 1 and size[4] == 1 and
                    module[0] == 300 * MIB and size[1] <= module[1] <= module[2] and module[3:] == [0, 0])

        eventually(test, is_shown, "the accounts of sizes and modules as they are")


@test
def pages_of_killed_programs_are_removed(test):
    with running(test, test.program("steady")) as program:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        left = pages(test)
        test.expect(len(left) == 1 and left[0].startswith(f"{program.pid}."), f"pages: {left}")
    foreign = test.scratch / "nebula/1.77"
    foreign.write_bytes(b"of another namespace")
    outcome = nebula(test, "top", "--once").ended(0).said("no program shows a page; `nebula run --live -- PROGRAM`")
    test.expect(outcome.output.count("\n") == 1, outcome.output)
    test.expect(pages(test) == ["1.77"], f"pages: {pages(test)}")


@test
def a_page_goes_with_the_program_that_made_it(test):
    """A process that becomes another program has the same number and no page."""
    with running(test, "/bin/sh", "-c", "echo ready $$; read line; exec env -u LD_PRELOAD sleep 1000") as program:
        test.expect(len(pages(test)) == 1, f"pages: {pages(test)}")
        program.stdin.write("go on\n")
        program.stdin.flush()
        eventually(test, lambda: Path(f"/proc/{program.pid}/comm").read_text() == "sleep\n", "it sleeps")
        refused(test, ["top", "--once", program.pid], rf"process {program.pid} shows no page: .*nebula run --live")
        test.expect(pages(test) == [], f"pages: {pages(test)}")


@test
def top_errors(test):
    refused(test, ["top", "999999999"], r"there is no process 999999999")
    refused(test, ["top", os.getpid()], rf"process {os.getpid()} shows no page: it has to be started with NEBULA_LIVE=1")
    refused(test, ["top", "redis"], r"redis")
    refused(test, ["top", "--interval", "0"], r"--interval")
    with running(test, test.program("steady")) as program:
        page = test.scratch / "nebula" / pages(test)[0]
        with page.open("r+b") as file:
            file.seek(8)
            file.write(struct.pack("<Q", 99))
        outcome = nebula(test, "top", "--once", program.pid).ended(OWN_FAILURE)
        outcome.said(r"has layout 99, and this nebula reads \d+: the program runs on another version of the library")


@test
def garbage_in_the_folder_does_no_harm(test):
    with running(test, test.program("steady")) as program:
        folder = test.scratch / "nebula"
        namespace = pages(test)[0].split(".")[1]
        for name, contents in (("notes", b"x"), (f"1.{namespace}", b""), (f"2.{namespace}", b"nebulive"), ("..", None),
                               (f"99999999999999999999.{namespace}", b"x"), (f"3.{namespace}x", b"x")):
            if contents is not None:
                (folder / name).write_bytes(contents)
        (folder / f"4.{namespace}").symlink_to("/etc/passwd")
        os.mkfifo(folder / f"5.{namespace}")
        outcome = nebula(test, "top", "--once", timeout=30).ended(0).quiet()
        test.expect(outcome.output.count("\n") == 2 and str(program.pid) in outcome.output, outcome.output)


class Terminal:
    """`nebula top` in a pseudo-terminal, with what its screen shows."""

    def __init__(self, test, *words, rows=40, columns=110, hangup_is_ignored=False):
        self.test = test
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "linux", "XDG_RUNTIME_DIR": str(test.scratch), "LC_ALL": "C.UTF-8"})
            os.environ.pop("LD_PRELOAD", None)
            if hangup_is_ignored:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.execv(tool_of(test), ["nebula", *map(str, words)])
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def text(self):
        while select.select([self.file], [], [], 0.05)[0]:
            try:
                data = os.read(self.file, 65536)
            except OSError:
                break
            if not data:
                break
            self.stream.feed(data)
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, pattern):
        last = ""

        def is_there():
            nonlocal last
            last = self.text()
            return re.search(pattern, last, re.MULTILINE)

        try:
            return eventually(self.test, is_there, pattern)
        except harness.Failure as failure:
            raise harness.Failure(f"{failure}\n{last}") from None

    def press(self, keys):
        os.write(self.file, keys)

    def vanish(self):
        """As when the window is closed, with a program that the shell protects from that (nohup)."""
        os.close(self.file)
        eventually(self.test, lambda: os.waitpid(self.pid, os.WNOHANG)[0] == self.pid, "it ends with its terminal")

    def ended(self):
        status = eventually(self.test, lambda: os.waitpid(self.pid, os.WNOHANG), "it ends")[1]
        os.close(self.file)
        return os.waitstatus_to_exitcode(status)


@test
def top_in_a_terminal(test):
    with running(test, test.program("steady"), variables={"NEBULA_BUDGET": "400M"}) as program:
        screen = Terminal(test, "top", "--interval", "0.2")
        screen.wait_for(rf"^ *{program.pid} steady +sleeping .*15\d\.\d MiB .* 3[89] %")
        screen.wait_for(r"^ +pid program +state +up +committed +live +budget +alloc/s +resident$")
        screen.press(b"\r")
        screen.wait_for(rf"^steady, pid {program.pid}, sleeping")
        screen.wait_for(r"^budget +\[#{15,16}\.{24,25}\] 15\d\.\d MiB of 400\.0 MiB \(3[78]\.\d %\), peak 15\d\.\d MiB$")
        screen.wait_for(r"^memory +live 15\d\.\d MiB, pooled ")
        screen.wait_for(r"^ +large +0 +0 +2 +150\.0 MiB$")
        screen.wait_for(r"^ +48 +0 +0 +10\.\dk ")
        screen.wait_for(rf"^ +{program.pid} +0 +0 .* steady$")
        os.kill(program.pid, signal.SIGSTOP)
        screen.wait_for(rf"^steady, pid {program.pid}, stopped")
        screen.resize(20, 60)
        os.kill(screen.pid, signal.SIGWINCH)
        screen.wait_for(r"^budget +\[#{7,8}\.{12,13}\] 15")
        screen.press(b"\x1b")
        screen.wait_for(rf"^ *{program.pid} steady +stopped")
        screen.press(b"q")
        test.expect(screen.ended() == 0, "top failed")


@test
def top_sees_the_end_in_a_terminal(test):
    with running(test, test.program("steady")) as program:
        screen = Terminal(test, "top", program.pid, "--interval", "0.2")
        screen.wait_for(rf"^steady, pid {program.pid}, sleeping")
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        screen.wait_for(r"^The process has ended; this is what it was last\.$")
        screen.wait_for(rf"^steady, pid {program.pid}, ended")
        screen.press(b"\x1b")
        screen.wait_for(r"^no program shows a page")
        screen.press(b"q")
        test.expect(screen.ended() == 0, "top failed")


@test
def top_ends_with_its_terminal(test):
    with running(test, test.program("steady")) as program:
        for words in (("top",), ("top", program.pid)):
            screen = Terminal(test, *words, "--interval", "0.2", hangup_is_ignored=True)
            screen.wait_for(rf"{program.pid}.*sleeping")
            screen.vanish()


@test
def top_shows_rates(test):
    work = "import time\nprint('ready 0', flush=True)\nwhile True:\n  x = [bytes(3000) for i in range(2000)]\n  del x\n"
    with running(test, "/usr/bin/python3", "-c", work) as program:
        screen = Terminal(test, "top", program.pid, "--interval", "0.5")
        screen.wait_for(r"^each second [1-9][\d.]*[kM]? allocations, [1-9][\d.]*[kM]? frees, [+-]?\d")
        screen.wait_for(r"^ +3,072 +[1-9][\d.]*[kM] +[1-9][\d.]*[kM] ")
        screen.press(b"q")
        test.expect(screen.ended() == 0, "top failed")


# NEBULA_LIVE and NEBULA_BANNER

@test
def live_says_when_it_cannot(test):
    open_folder = test.scratch / "nebula"
    open_folder.mkdir(mode=0o755)
    open_folder.chmod(0o755)
    fallback = f"/tmp/nebula-{os.geteuid()}"
    variables = {"NEBULA_LIVE": "1", "XDG_RUNTIME_DIR": str(test.scratch)}
    test.run([test.program("trivial")], variables).ended(7).quiet()
    test.expect(list(open_folder.iterdir()) == [], "a page in a folder that others may enter")
    test.expect(Path(fallback).stat().st_mode & 0o777 == 0o700, f"the mode of {fallback}")

    def no_room():
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    open_folder.chmod(0o700)
    outcome = test.run([test.program("trivial")], variables, before=no_room).ended(7)
    outcome.said(rf"^nebula: NEBULA_LIVE=1: no page can be made in {open_folder}: error 27$")


@test
def without_live_there_is_no_page(test):
    variables = {"XDG_RUNTIME_DIR": str(test.scratch), "NEBULA_LIVE": "0"}
    test.run(["sh", "-c", "ls -A $XDG_RUNTIME_DIR"], variables).ended(0).quiet().printed("")


@test
def banner(test):
    variables = {"NEBULA_BANNER": "1", "NEBULA_LIVE": "1", "NEBULA_BUDGET": "64M", "XDG_RUNTIME_DIR": str(test.scratch)}
    outcome = test.run([test.program("trivial")], variables).ended(7).printed("")
    outcome.said(r"^nebula: \d+\.\d+\.\d+ serves trivial, pid \d+: NEBULA_BUDGET=64M NEBULA_LIVE=1 NEBULA_BANNER=1; "
                 rf"page {test.scratch}/nebula/\d+\.\d+$")
    test.expect(outcome.errors.count("\n") == 1, outcome.errors)
    bare = test.run([test.program("trivial")], {"NEBULA_BANNER": "1"}).ended(7)
    bare.said(r"^nebula: \S+ serves trivial, pid \d+: NEBULA_BANNER=1$")


# report and diff

def two_reports(test):
    paths = []
    for name, objects in (("before", 1000), ("after", 5000)):
        path = test.scratch / f"{name}.json"
        work = f"keep = [bytes(3000) for i in range({objects})]\nimport sys\nsys.keep = keep\nsys.exit()"
        nebula(test, "run", "--stats", f"json:{path}", "--", "/usr/bin/python3", "-c", work).ended(0).quiet()
        paths.append(path)
    return paths


@test
def report_prints_and_writes_a_page(test):
    path, _ = two_reports(test)
    written = json.loads(path.read_text())
    outcome = nebula(test, "report", path).ended(0).quiet()
    outcome.said(rf"^nebula \S+ report: python3, pid {written['process_id']}, written at exit$", outcome.output)
    for name, key in (("live", "live_bytes"), ("= committed", "committed_bytes"), ("metadata", "metadata_bytes")):
        outcome.said(rf"^  {name} +{written['memory'][key]:,}$", outcome.output)
    total = written["objects"]["total"]
    outcome.said(rf"^  total +{total['allocations']:,} +{total['frees']:,} +{total['live']:,} +{total['live_bytes']:,} ", outcome.output)
    test.expect(outcome.output.count("\n  size ") == len(written["size_classes"]), "the size classes are not all there")
    page = test.scratch / "page.html"
    nebula(test, "report", path, "-o", page).ended(0).quiet().printed("")
    html = page.read_text()
    test.expect(html.startswith("<!DOCTYPE html>") and html.rstrip().endswith("</html>"), html[:200])
    inside = re.search(r'<script type="application/json" id="report">\s*(.*?)\s*</script>', html, re.DOTALL)
    test.expect(inside and json.loads(inside[1]) == written, "the page has other numbers")
    hostile = {**written, "program": "</script><b>"}
    path = test.scratch / "forged/hostile.json"
    path.parent.mkdir()
    path.write_text(json.dumps(hostile))
    page = path.with_name("hostile.html")
    nebula(test, "report", path, "--output", page).ended(0)
    inside = re.search(r'id="report">\s*(.*?)\s*</script>', page.read_text(), re.DOTALL)
    test.expect(json.loads(inside[1]) == hostile, "a name ends the element")


@test
def diff_shows_what_grew(test):
    before, after = two_reports(test)
    outcome = nebula(test, "diff", before, after).ended(0).quiet()
    first, second = (json.loads(path.read_text()) for path in (before, after))
    for name, key in (("live", "live_bytes"), ("= committed", "committed_bytes"), ("peak in use", "in_use_peak_bytes")):
        a, b = first["memory"][key], second["memory"][key]
        outcome.said(rf"^  {name} +{a:,} +{b:,} +{re.escape(f'{b - a:+,}' if a != b else '0')}\b", outcome.output)
    total = second["objects"]["total"]["allocations"] - first["objects"]["total"]["allocations"]
    outcome.said(rf"^  total .* {re.escape(f'{total:+,}')}$", outcome.output)
    same = nebula(test, "diff", before, before).ended(0).quiet()
    test.expect("size " not in same.output, same.output)


@test
def report_errors(test):
    path, _ = two_reports(test)
    report = json.loads(path.read_text())

    forged = test.scratch / "forged"
    forged.mkdir()

    def made(name, text):
        (forged / name).write_text(text)
        return forged / name

    for command in (["report"], ["diff", path]):
        refused(test, [*command, "/nowhere.json"], r"/nowhere\.json cannot be read")
        refused(test, [*command, made("bad", "{")], r"bad is no JSON; a report for this command is written with NEBULA_STATS=json")
        refused(test, [*command, made("other", "[1]")], r'other is no report of Nebula: it has no "format": "nebula-report"')
        refused(test, [*command, made("new", json.dumps({**report, "schema_version": 99}))], r"new has schema version 99, and this nebula reads 2")
    refused(test, ["report"], r"FILE is required")
    refused(test, ["diff", path], r"AFTER is required")
    refused(test, ["report", path, "-o", "/nowhere/page.html"], r"/nowhere/page\.html cannot be written")
    holes = made("holes", json.dumps({"format": "nebula-report", "schema_version": 2, "memory": {"live_bytes": "many"}, "objects": None}))
    nebula(test, "diff", holes, path).ended(0)
    lines = made("lines", json.dumps({**report, "sequence": 1}) + "\n" + json.dumps({**report, "process_id": 4711}) + "\n")
    last = nebula(test, "report", lines).ended(0)
    last.said(r"pid 4711", last.output)


# completion

BASH = """
source <(%s completion bash)
complete_line() {
  COMP_LINE="$*"; read -ra COMP_WORDS <<<"$COMP_LINE"
  [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _nebula; printf '%%s\\n' "${COMPREPLY[@]}"
}
complete_line "$1"
"""


@test
def completion_in_bash(test):
    def completed(line):
        outcome = test.run(["bash", "-c", BASH % tool_of(test), "bash", line], {"PATH": f"{tool_of(test).parent}:{os.environ['PATH']}",
                           "XDG_RUNTIME_DIR": str(test.scratch)}, preload="").ended(0).quiet()
        return outcome.output.split()

    for line, expected in (("nebula r", {"run", "report"}), ("nebula run --budget-so", {"--budget-soft"}), ("nebula help NEBULA_LI", {"NEBULA_LIVE"}),
                           ("nebula completion z", {"zsh"}), ("nebula run --budget 64M printen", {"printenv"}), ("nebula check -- printen", {"printenv"}),
                           ("nebula report /etc/passw", {"/etc/passwd"}), ("nebula run cat /etc/passw", {"/etc/passwd"}),
                           ("nebula symbolize /etc/passw", {"/etc/passwd"}), ("nebula symbolize --deb", {"--debug-dir"}),
                           ("nebula symbolize --debug-dir /etc/passw", {"/etc/passwd"})):
        found = set(completed(line))
        test.expect(expected <= found and all(word.startswith(line.split()[-1]) for word in found), f"{line!r} becomes {found}")
    with running(test, test.program("steady")) as program:
        test.expect(completed("nebula top ") == [str(program.pid)], "the process is not offered")


@test
def completion_in_zsh(test):
    script = nebula(test, "completion", "zsh").ended(0).quiet().output
    functions = test.scratch / "functions"
    functions.mkdir()
    (functions / "_nebula").write_text(script)
    zsh = test.scratch / "zsh"
    zsh.mkdir()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(zsh)
        os.execve("/usr/bin/zsh", ["zsh", "-f", "-i"], {"PATH": f"{tool_of(test).parent}:/usr/bin:/bin", "TERM": "dumb", "HOME": str(zsh),
                                                          "XDG_RUNTIME_DIR": str(test.scratch)})
    said = ""

    def wait_for(pattern):
        nonlocal said

        def is_there():
            nonlocal said
            while select.select([terminal], [], [], 0.05)[0]:
                said += os.read(terminal, 65536).decode(errors="replace")
            return re.search(pattern, said)

        try:
            eventually(test, is_there, f"{pattern} in {said}")
        except harness.Failure:
            raise harness.Failure(f"no {pattern} in {said!r}") from None
        said = ""

    try:
        os.write(terminal, f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D; PS1='> '; echo set''up\n".encode())
        wait_for("\nsetup|\rsetup|setup\r")
        for typed, becomes in (("nebula compl", "completion"), ("nebula run --budget-so", "--budget-soft"), ("nebula help NEBULA_BANN", "NEBULA_BANNER"),
                               ("nebula check printen", "printenv"), ("nebula symbolize --deb", "--debug-dir")):
            os.write(terminal, typed.encode() + b"\t")
            wait_for(re.escape(becomes))
            os.write(terminal, b"\x15")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


if __name__ == "__main__":
    harness.main(TESTS)
