#!/usr/bin/python3
"""Reports: the same numbers in every form, each form as its readers want it, and written when it was asked for."""

import gzip
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import harness  # noqa: E402
import json_report  # noqa: E402
import pprof  # noqa: E402
import report  # noqa: E402
import reports  # noqa: E402

TESTS = {}
ROOT = Path(__file__).resolve().parents[2]
WORK = """
import threading, time
def work(n):
    kept = []
    for step in range(8):
        kept = [str(i) * (n + 1) for i in range(20000 * (1 + step % 3))]
        time.sleep(0.06)
    return kept
threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
held = [bytes(50) for _ in range(30000)] + [bytes(100000) for _ in range(30)]
print(len(held))
"""
FORMS = {"text": ".txt", "json": ".json", "prometheus": ".prom", "html": ".html"}


def test(function):
    TESTS[function.__name__] = function
    return function


def read_text(text):
    try:
        return report.checked(text)
    except report.Wrong as wrong:
        raise harness.Failure(f"{wrong}\n{text}") from None


def read_json(text):
    try:
        return json_report.checked(text)
    except report.Wrong as wrong:
        raise harness.Failure(f"{wrong}\n{text[:6000]}") from None


def read_lines(path):
    text = path.read_text()
    if not text.endswith("\n"):
        raise harness.Failure(f"{path} ends within a line")
    return [read_json(line) for line in text.splitlines()]


def all_forms(context, command=None, variables=None):
    """The four forms of one report, by name, as text."""
    command = command or ["/usr/bin/python3", "-c", WORK]
    outcome = context.run(command, {"NEBULA_STATS": ",".join(FORMS), "NEBULA_STATS_FILE": str(context.scratch / "out"),
                                    "PYTHONMALLOC": "malloc", **(variables or {})}).quiet()
    found = sorted(path.name for path in context.scratch.iterdir())
    if found != sorted("out" + suffix for suffix in FORMS.values()):
        outcome.fail(f"found {found}")
    return {form: (context.scratch / f"out{suffix}").read_text() for form, suffix in FORMS.items()}


def tool(name):
    """A program from PATH or from where scripts/setup.sh put it."""
    extracted = ROOT / "build/tools" / name
    path = shutil.which(name) or (str(extracted) if extracted.exists() else None)
    if path is None:
        raise harness.Failure(f"{name} is missing: scripts/setup.sh test brings it")
    return path


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise harness.Failure(f"waited {seconds} s for {what}")
        time.sleep(0.01)


class Running:
    """A program under the library that has printed "ready"."""

    def __init__(self, context, arguments, variables, **popen):
        self.context = context
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("NEBULA_", "LD_"))}
        environment.update({"LD_PRELOAD": str(context.library), **variables})
        self.process = subprocess.Popen([context.program("ends"), *arguments], env=environment, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, cwd=context.scratch, **popen)
        self.before = []
        while (line := self.process.stdout.readline()) not in ("ready\n", ""):
            self.before.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.context.keep_reports("killed")

    @property
    def pid(self):
        return self.process.pid

    def end(self):
        output, errors = self.process.communicate(timeout=60)
        return output, errors


# Forms.


@test
def forms_agree(context):
    """One snapshot, four forms: each number that two of them have is the same in both."""
    forms = all_forms(context, variables={"NEBULA_BUDGET": "1G"})
    read = {kind: reports.checked(text.encode(), kind) for kind, text in forms.items()}
    context.expect(list(reports.differences(read)) == [], f"{list(reports.differences(read))}")
    context.expect(reports.PAGE.search(forms["html"])[1] == forms["json"], "the page holds another report than the JSON form")

@test
def json_has_everything(context):
    """What a report should show of a program that allocates for half a second from three threads."""
    data = read_json(all_forms(context)["json"])
    context.expect(data["reason"] == "exit" and data["sequence"] == 1, f'{data["reason"]}, {data["sequence"]}')
    context.expect(data["threads"]["started"] == 3, f'{data["threads"]} where three threads ran')
    points = data["timeline"]
    context.expect(5 <= len(points) <= 512, f"{len(points)} points in half a second")
    gaps = [b["milliseconds"] - a["milliseconds"] for a, b in zip(points, points[1:-1])]
    context.expect(min(gaps) >= 100, f"points closer than 100 ms: {gaps}")
    context.expect(all(point["resident_bytes"] for point in points), "no resident memory over time")
    live = [point["live_bytes"] for point in points]
    context.expect(max(live) > 2 * min(live), f"memory goes up and down, and the timeline says {live}")
    context.expect(data["fragmentation"]["sampled_requests"] > 100, f'{data["fragmentation"]}')
    context.expect(data["fragmentation"]["large_requests"] >= 30, f'{data["fragmentation"]}')
    sizes = {row["slot_bytes"]: row for row in data["size_classes"]}
    # bytes(50) asks for 33 + 50 bytes and gets 96.
    asked = sizes[96]["sampled_request_bytes"] / sizes[96]["sampled_requests"]
    context.expect(81 <= asked <= 96, f"requests of size 96 ask for {asked} bytes")


@test
def prometheus_is_accepted(context):
    """promtool, which checks names, types and help, has nothing to say."""
    text = all_forms(context, variables={"NEBULA_BUDGET": "1G", "NEBULA_BUDGET_SOFT": "512M"})["prometheus"]
    ran = subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    context.expect(ran.returncode == 0 and not ran.stdout and not ran.stderr, f"promtool: {ran.stdout}{ran.stderr}")


@test
def odd_names(context):
    """Quotes, line ends and bytes that are no text in a program's name break no form."""
    odd = b'a"b\\c\n<d>\xff\xc3\xa9'
    path = os.fsencode(context.scratch) + b"/programs/"
    os.mkdir(path)
    os.symlink(context.program("ends"), path + odd)
    out = context.scratch / "out"
    out.mkdir()
    environment = {"LD_PRELOAD": str(context.library), "NEBULA_STATS": ",".join(FORMS), "NEBULA_STATS_FILE": f"{out}/o"}
    subprocess.run([path + odd], env=environment, check=True, stdout=subprocess.DEVNULL)
    data = read_json((out / "o.json").read_text())
    context.expect(data["program"] == 'a"b\\c\n<d>\ufffdé', repr(data["program"]))
    metrics = (out / "o.prom").read_text()
    context.expect('program="a\\"b\\\\c\\n<d>\ufffdé"' in metrics, metrics[:300])
    ran = subprocess.run([tool("promtool"), "check", "metrics"], input=metrics, capture_output=True, text=True, check=False)
    context.expect(ran.returncode == 0, f"promtool: {ran.stdout}{ran.stderr}")
    context.expect("<d>" not in (out / "o.html").read_text(), "a name ends up as a tag in the page")


def browse(context, page, *arguments):
    command = [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
               f"--user-data-dir={context.scratch}/browser", "--window-size=1120,4200", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@test
def page_in_a_browser(context):
    """Chromium draws all of it: the numbers of the tables are the report's, and the lines have their colours."""
    from PIL import Image

    forms = all_forms(context, variables={"NEBULA_BUDGET": "40M"})
    data = read_json(forms["json"])
    page = context.scratch / "out.html"
    drawn = browse(context, page, "--dump-dom")
    context.expect('data-drawn="whole"' in drawn, "the script did not come to its end")
    context.expect(not re.search(r'(?:src|href)="', drawn), "the page wants something from outside")
    sections = re.findall(r'<section id="(\w+)">', drawn)
    for name in ("timeline", "memory", "classes", "fragmentation", "threads", "budget", "pages", "misuse", "process"):
        context.expect(name in sections, f"no section {name} in {sections}")

    def rows(section):
        body = re.search(rf'<section id="{section}">(.*?)</section>', drawn, re.DOTALL)[1]
        return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body) if "<td>" in row]

    grouped = "{:,}".format
    memory = {row[0]: row[1] for row in rows("memory")}
    context.expect(memory["committed"] == grouped(data["memory"]["committed_bytes"]), f"{memory}")
    context.expect(memory["live"] == grouped(data["memory"]["live_bytes"]), f"{memory}")
    classes = {row[0]: row for row in rows("classes")}
    context.expect(len(classes) == len(data["size_classes"]) + 5, f"{len(classes)} rows")
    for row in data["size_classes"]:
        cells = classes[grouped(row["slot_bytes"])]
        expected = [grouped(row[name]) for name in ("allocations", "frees", "live", "live_bytes", "slabs", "empty_slabs", "slab_bytes")]
        context.expect(cells[1:8] == expected, f"{cells} and {expected}")
    context.expect(classes["total"][1] == grouped(data["objects"]["total"]["allocations"]), f'{classes["total"]}')
    for field in ("committed_bytes", "resident_bytes", "live_bytes"):
        line = re.search(rf'<polyline points="([^"]*)"[^>]*class="{field}"', drawn)
        context.expect(line and len(line[1].split()) == len(data["timeline"]), f"no line, or not all points, for {field}")
    context.expect('class="budget"' in drawn, "no line for the budget")

    picture = context.scratch / "page.png"
    browse(context, page, f"--screenshot={picture}")
    image = Image.open(picture).convert("RGB")
    top = dict((color, count) for count, color in image.crop((0, 0, 1120, 900)).getcolors(1 << 24))
    for name, color, least in (("live", (0x25, 0x63, 0xB0), 300), ("committed", (0xC2, 0x57, 0x1A), 300),
                               ("resident", (0x3F, 0x8F, 0x4F), 300), ("budget", (0xB3, 0x26, 0x1E), 300)):
        context.expect(top.get(color, 0) >= least, f"{top.get(color, 0)} dots in the colour of {name}")
    whole = image.getcolors(1 << 24)
    context.expect(len(whole) > 50, "an empty picture")

    # A machine with several nodes: what this one may not have.
    row = {name: 4321 + place for place, name in enumerate(
        json_report.SCHEMA["properties"]["node_heaps"]["items"]["required"])}
    row["purpose"] = "node 5"
    context.expect('"node_heaps":[]' in forms["html"] or data["node_heaps"], "no place for nodes")
    page.write_text(re.sub(r'"node_heaps":\[[^]]*\]', lambda _: f'"node_heaps":[{json.dumps(row)}]', forms["html"]))
    drawn = browse(context, page, "--dump-dom")
    context.expect(rows("nodes") and rows("nodes")[0][:2] == ["node 5", grouped(row["in_use_bytes"])], "no row for a node")


# Files.


@test
def default_names(context):
    """Beside text, each form goes to a name of its own in the working folder."""
    outcome = context.run([context.program("ends")], {"NEBULA_STATS": ",".join(FORMS)}, cwd=context.scratch).ended(0)
    pid = read_text(outcome.errors).pid
    found = sorted(path.name for path in context.scratch.iterdir())
    context.expect(found == [f"nebula.ends.{pid}.{end}" for end in ("html", "json", "prom")], f"{found}")


@test
def names_with_signs(context):
    for variables, expected in (({"NEBULA_STATS": "json"}, r"one\.\d+\.ends\.1\.\d{8}T\d{6}Z"),
                                ({"NEBULA_STATS": "text,json"}, r"one\.\d+\.ends\.1\.\d{8}T\d{6}Z\.(?:txt|json)")):
        name = context.scratch / str(len(variables["NEBULA_STATS"])) / "one.%p.%e.%n.%t"
        name.parent.mkdir()
        context.run([context.program("ends")], {**variables, "NEBULA_STATS_FILE": str(name)}).ended(0).quiet()
        found = [path.name for path in name.parent.iterdir()]
        context.expect(found and all(re.fullmatch(expected, each) for each in found), f"{found}")
        age = time.time() - time.mktime(time.strptime(found[0].split(".")[4], "%Y%m%dT%H%M%SZ")) + time.timezone
        context.expect(-5 < age < 120, f"the name says {found[0]}, that is {age} s ago")


@test
def suffix_is_not_doubled(context):
    context.run([context.program("ends")], {"NEBULA_STATS": "text,json", "NEBULA_STATS_FILE": f"{context.scratch}/a.json"})
    found = sorted(path.name for path in context.scratch.iterdir())
    context.expect(found == ["a.json", "a.json.txt"], f"{found}")


@test
def file_is_always_whole(context):
    """A reader that looks while reports replace one another, and kills the writer in the middle, sees whole ones only."""
    path = context.scratch / "out.json"
    variables = {"NEBULA_STATS": "json", "NEBULA_STATS_FILE": str(path), "NEBULA_STATS_SIGNAL": "USR2"}
    looks = 0
    for _ in range(6):
        with Running(context, ["threads", "600"], variables) as running:
            os.kill(running.pid, signal.SIGUSR2)
            wait_for(path.exists, "the first report")
            end = time.monotonic() + 0.7
            while time.monotonic() < end:
                os.kill(running.pid, signal.SIGUSR2)
                json.loads(path.read_text())
                looks += 1
            os.kill(running.pid, signal.SIGUSR2)
            time.sleep(0.001 * (looks % 7))
        read_json(path.read_text())
    context.expect(looks > 20, f"looked {looks} times only")
    others = [each.name for each in context.scratch.iterdir() if not re.fullmatch(r"out\.json(?:\.\d+\.part)?", each.name)]
    context.expect(not others, f"{others}")


@test
def in_place_where_it_must(context):
    """A symbolic link stays one; a file in a folder that may not be written to is written where it is."""
    target, link = context.scratch / "target", context.scratch / "link"
    target.write_text("x" * 100_000)
    link.symlink_to(target)
    variables = {"NEBULA_STATS": "json", "NEBULA_STATS_FILE": str(link)}
    context.run([context.program("ends")], variables).ended(0).quiet()
    context.expect(link.is_symlink(), "the link was replaced")
    read_json(target.read_text())
    inode = target.stat().st_ino
    context.run([context.program("ends")], {**variables, "NEBULA_STATS_FILE": str(target)}).ended(0).quiet()
    context.expect(target.stat().st_ino != inode, "a regular file was written in place")


@test
def failures_are_told(context):
    folder = context.scratch / "folder"
    folder.mkdir()
    (context.scratch / "plain").write_text("")
    for path, words in ((folder, "it is a folder"), (context.scratch / "none/out", "no such folder"),
                        (context.scratch / "plain/out", "its folder is none")):
        outcome = context.run([context.program("ends")], {"NEBULA_STATS": "json", "NEBULA_STATS_FILE": str(path)}).ended(0)
        outcome.said(rf"^nebula: the report cannot be written to {re.escape(str(path))}: {words}$")
    outcome = context.run([context.program("ends")], {"NEBULA_STATS": "json", "NEBULA_STATS_FILE": "/dev/full"}).ended(0)
    outcome.said(r"^nebula: the report could not be written to /dev/full to its end$")


# Times.


@test
def on_a_signal(context):
    """Each signal is one report, as text where no form is asked for; the program goes on, hung or not."""
    for arguments in (["stays", "600"], ["threads", "600"]):
        with Running(context, arguments, {"NEBULA_STATS_SIGNAL": "USR2"}) as running:
            text = ""
            for sequence in range(3):
                os.kill(running.pid, signal.SIGUSR2)
                line = running.process.stderr.readline()
                context.expect(line.endswith(f"pid {running.pid}, signal\n"), f"report {sequence}: {line!r}")
                text = line
                while not (line := running.process.stderr.readline()).startswith("misuse"):
                    context.expect(line != "", f"the report ends: {text}")
                    text += line
                read_text(text + line)
            context.expect(running.process.poll() is None, "the program has ended")


@test
def signal_to_a_stopped_program(context):
    """A report asked for while the program is stopped comes when it goes on."""
    path = context.scratch / "out"
    with Running(context, ["stays", "600"], {"NEBULA_STATS_SIGNAL": "SIGUSR2", "NEBULA_STATS": "json",
                                             "NEBULA_STATS_FILE": str(path)}) as running:
        os.kill(running.pid, signal.SIGSTOP)
        os.kill(running.pid, signal.SIGUSR2)
        time.sleep(0.2)
        context.expect(not path.exists(), "a stopped program has written a report")
        os.kill(running.pid, signal.SIGCONT)
        wait_for(path.exists, "the report")
        context.expect(read_json(path.read_text())["reason"] == "signal", "another reason")


@test
def signal_of_the_program(context):
    """A program's own handler, and one ignored for it, are left alone, and that is said."""
    with Running(context, ["takes_signal", "20"], {"NEBULA_STATS_SIGNAL": "USR2"}) as running:
        for _ in range(3):
            os.kill(running.pid, signal.SIGUSR2)
            context.expect(running.process.stdout.readline() == "counted\n", "the program's handler was not called")
        _, errors = running.end()
    context.expect(re.fullmatch(r"nebula: NEBULA_STATS_SIGNAL: the program has taken signal 12 for itself: it writes no reports "
                                r"any more\n", errors), repr(errors))
    with Running(context, ["stays", "2"], {"NEBULA_STATS_SIGNAL": "USR2"},
                 preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN)) as running:
        os.kill(running.pid, signal.SIGUSR2)
        _, errors = running.end()
    context.expect("whoever started the program ignores signal 12" in errors and errors.count("\n") == 1, repr(errors))


@test
def signal_in_a_child(context):
    """The child of a fork answers for itself."""
    with Running(context, ["fork", "600"], {"NEBULA_STATS_SIGNAL": "USR2", "NEBULA_STATS": "json",
                                            "NEBULA_STATS_FILE": f"{context.scratch}/%p"}) as running:
        child = int(running.before[0])
        try:
            for pid in (child, running.pid):
                os.kill(pid, signal.SIGUSR2)
                path = context.scratch / str(pid)
                wait_for(path.exists, f"the report of {pid}")
                context.expect(read_json(path.read_text())["process_id"] == pid, "another process's report")
        finally:
            os.kill(child, signal.SIGKILL)


@test
def every_interval(context):
    """A line each time, whole and of rising number; the last report is apart."""
    variables = {"NEBULA_STATS_INTERVAL": "100ms", "NEBULA_STATS": "text", "NEBULA_STATS_FILE": f"{context.scratch}/out"}
    for how in ("stays", "threads"):
        context.run([context.program("ends"), how, "12"], variables).ended(0).quiet()
        lines = read_lines(context.scratch / "out.jsonl")
        context.expect(6 <= len(lines) <= 13, f"{len(lines)} lines in 1.2 s of one every 100 ms")
        context.expect([line["sequence"] for line in lines] == list(range(1, len(lines) + 1)), "lines are missing")
        context.expect(all(line["reason"] == "interval" and line["timeline"] == [] for line in lines), "no lines of an interval")
        read_text((context.scratch / "out.txt").read_text())
        for path in context.scratch.iterdir():
            path.unlink()


@test
def lines_rotate(context):
    variables = {"NEBULA_STATS_INTERVAL": "20ms", "NEBULA_STATS_ROTATE": "20K", "NEBULA_STATS_FILE": f"{context.scratch}/out"}
    context.run([context.program("ends"), "stays", "20"], variables).ended(0).quiet()
    found = sorted(path.name for path in context.scratch.iterdir())
    context.expect(found == ["out", "out.1"], f"{found}")
    old, new = read_lines(context.scratch / "out.1"), read_lines(context.scratch / "out")
    context.expect(old[-1]["sequence"] + 1 == new[0]["sequence"], "a line is lost between the files")
    size = (context.scratch / "out.1").stat().st_size
    context.expect(20 * 1024 <= size < 40 * 1024, f"the file was renamed at {size} bytes")


def crashed(context, how, ended, words, reason="crash"):
    path = context.scratch / f"{how}.json"
    variables = {"NEBULA_STATS_ON_CRASH": "1", "NEBULA_STATS": "json", "NEBULA_STATS_FILE": str(path)}
    outcome = context.run([context.program("ends"), how, "50"], variables).ended(ended)
    outcome.said(words)
    if not path.exists():
        outcome.fail("there is no report")
    data = read_json(path.read_text())
    context.expect(data["reason"] == reason, f"{how}: the reason is {data['reason']}")
    return outcome


@test
def at_a_crash(context):
    """Faults of every kind are told and kill as they would have."""
    fault, abort = -signal.SIGSEGV, -signal.SIGABRT
    for how, ended, words in (("fault", fault, "^nebula: fatal signal SIGSEGV at address 0x10$"),
                              ("abort", abort, "^nebula: fatal signal SIGABRT$"),
                              ("overflow", fault, "^nebula: fatal signal SIGSEGV at address 0x7"),
                              ("sent", fault, "^nebula: fatal signal SIGSEGV$"),
                              ("thread", fault, "^nebula: fatal signal SIGSEGV at address 0x10$"),
                              ("racing", fault, "^nebula: fatal signal SIGSEGV at address 0x10$"),
                              ("two", fault, "^nebula: fatal signal SIGSEGV at address 0x10$"),
                              ("double_free", abort, "^nebula: double free of ")):
        outcome = crashed(context, how, ended, words)
        if len(re.findall("fatal signal", outcome.errors)) != 1:
            outcome.fail("expected one line on a fatal signal")


@test
def at_a_crash_as_text(context):
    outcome = context.run([context.program("ends"), "fault"], {"NEBULA_STATS_ON_CRASH": "1"}).ended(-signal.SIGSEGV)
    first, _, rest = outcome.errors.partition("\n")
    context.expect(first == "nebula: fatal signal SIGSEGV at address 0x10", first)
    context.expect(read_text(rest).reason == "crash", "another reason")


@test
def crash_handlers_of_the_program(context):
    """They come first; the report is written when they give up, pass on or abort, and not when they recover or end."""
    for how, ended, words in (("gives_up", -signal.SIGSEGV, "SIGSEGV"), ("aborts", -signal.SIGABRT, "SIGABRT"),
                              ("passes_on", -signal.SIGSEGV, "SIGSEGV")):
        crashed(context, how, ended, f"^nebula: fatal signal {words}").printed("handler\n")
    for how, ended, output in (("ends", 9, "handler\n"), ("recovers", 0, "handler\nready\n"), ("default_is_default", 0, "ready\n")):
        outcome = context.run([context.program("ends"), how], {"NEBULA_STATS_ON_CRASH": "1"}).ended(ended)
        outcome.printed(output).quiet()


@test
def without_a_wish_nothing_changes(context):
    """The interposed functions do what libc's do."""
    for how, ended, output in (("fault", -signal.SIGSEGV, ""), ("gives_up", -signal.SIGSEGV, "handler\n"), ("ends", 9, "handler\n"),
                               ("recovers", 0, "handler\nready\n"), ("default_is_default", 0, "ready\n"), ("_exit", 3, ""),
                               ("_Exit", 3, ""), ("execl", 0, ""), ("execlp", 0, "one-two-three\n"), ("execle", 0, "ONLY=this\n"),
                               ("execv", 0, ""), ("execvp", 0, ""), ("exec_fails", 0, "ready\n"), ("vfork", 0, "ready\n"),
                               ("under_loader", 0, "ready\n")):
        context.run([context.program("ends"), how]).ended(ended).printed(output).quiet()


@test
def before_ends(context):
    """_exit and the exec functions, when asked, in each process with a file of its own."""
    for how, reasons, ended in (("_exit", ["_exit"], 3), ("_Exit", ["_exit"], 3), ("quick_exit", ["exit"], 3),
                                ("execl", ["execve", "exit"], 0), ("execlp", ["execve", "exit"], 0), ("execv", ["execve", "exit"], 0),
                                ("execvp", ["execve", "exit"], 0), ("execle", ["execve"], 0),
                                ("exec_fails", ["execve", "exit"], 0), ("stays", ["exit"], 0)):
        folder = context.scratch / how
        folder.mkdir()
        variables = {"NEBULA_STATS": "json", "NEBULA_STATS_BEFORE": "_exit,execve", "NEBULA_STATS_FILE": f"{folder}/%e.%n"}
        outcome = context.run([context.program("ends"), how], variables).ended(ended).quiet()
        found = sorted(read_json(path.read_text())["reason"] for path in folder.iterdir())
        if found != sorted(reasons):
            outcome.fail(f"{how}: reports for {found}, expected {reasons}")
    folder = context.scratch / "vfork"
    folder.mkdir()
    context.run([context.program("ends"), "vfork"], {**variables, "NEBULA_STATS_FILE": f"{folder}/%p.%e.%n"}).ended(0).quiet()
    reports = [read_json(path.read_text()) for path in folder.iterdir()]
    context.expect(sorted((each["program"], each["reason"]) for each in reports) == [("ends", "exit"), ("true", "exit")],
                   f"a child of vfork has written for its parent: {[path.name for path in folder.iterdir()]}")


@test
def at_the_budget(context):
    """One report when the limit is first met, one when it first refuses."""
    program = "x = []\ntry:\n  while True: x.append(bytes(1000000))\nexcept MemoryError: print('refused')"
    variables = {"NEBULA_BUDGET": "40M", "NEBULA_STATS_ON_BUDGET": "1", "NEBULA_STATS": "json", "PYTHONMALLOC": "malloc",
                 "NEBULA_STATS_FILE": f"{context.scratch}/%n"}
    outcome = context.run(["/usr/bin/python3", "-c", program], variables).ended(0).printed("refused\n")
    reports = [read_json(path.read_text()) for path in sorted(context.scratch.iterdir())]
    reasons = [each["reason"] for each in reports]
    if reasons != ["budget", "budget", "exit"]:
        outcome.fail(f"reports for {reasons}")
    context.expect(reports[1]["budget"]["refusals"] == 1, f'{reports[1]["budget"]}')
    context.expect(any("budget refused" in words for words in reports[-1]["advice"]), f'{reports[-1]["advice"]}')


@test
def racing_threads(context):
    """Whatever threads do meanwhile, every form adds up."""
    for _ in range(5):
        forms = all_forms(context, [context.program("ends"), "threads", "3"])
        read_text(forms["text"])
        read_json(forms["json"])
        for path in context.scratch.iterdir():
            path.unlink()


@test
def killed_in_the_middle(context):
    """Every form, lines and profiles, of threads that race, asked for again and again until a kill: all that is there is whole and adds up."""
    rounds = 8
    for number in range(rounds):
        folder = context.scratch / str(number)
        folder.mkdir()
        variables = {"NEBULA_STATS": ",".join(FORMS), "NEBULA_STATS_FILE": f"{folder}/out.%n", "NEBULA_STATS_SIGNAL": "USR2",
                     "NEBULA_STATS_INTERVAL": "30ms", "NEBULA_PROFILE": "16K", "NEBULA_PROFILE_FORM": "pprof,collapsed",
                     "NEBULA_PROFILE_FILE": f"{folder}/p.%n.pb.gz"}
        with Running(context, ["threads", "600"], variables) as running:
            for _ in range(6):
                os.kill(running.pid, signal.SIGUSR2)
                time.sleep(0.03 + 0.003 * number)
    kept = Counter(path.suffix for path in context.keeper.folder.iterdir() if ".killed." in path.name)
    for kind in reports.KINDS:
        context.expect(kept[f".{kind}"] >= rounds // 2, f"of form {kind} too few were left: {kept}")
    racing = [path.name for path in context.keeper.folder.iterdir() if ".racing." in path.name]
    context.expect(len(racing) >= rounds, f"nothing raced: {racing}")


@test
def what_is_wrong_is_found(context):
    """The checker that all reports go through has something to say when a number of any form is another, and when forms differ."""
    variables = {"NEBULA_STATS_INTERVAL": "50ms", "NEBULA_PROFILE": "1", "NEBULA_PROFILE_FORM": "pprof,collapsed",
                 "NEBULA_PROFILE_FILE": f"{context.scratch}/p.pb.gz"}
    context.run([context.program("ends"), "stays", "3"], {"NEBULA_STATS": ",".join(FORMS), "NEBULA_STATS_FILE": f"{context.scratch}/out",
                                                          **variables}).ended(0).quiet()
    found = {}
    for path in context.scratch.iterdir():
        if path.stat().st_size == 0 and path.suffix == ".collapsed":
            continue  # of a moment before the first sample
        kind = reports.kind_of(path.read_bytes())
        context.expect(kind, f"{path.name} is not taken for a report")
        found[path] = (kind, path.read_bytes())
    context.expect({kind for kind, _ in found.values()} == set(reports.KINDS), f"{found.keys()}")

    def other(data, before):
        """Another digit behind what is said."""
        changed = re.sub(rb"(?m)(" + before + rb")(\d)", lambda found: found[1] + b"%d" % (int(found[2]) % 9 + 1), data, count=1)
        context.expect(changed != data, f"nothing like {before} in {data[:2000]}")
        return changed

    def unpacked(data, change):
        return gzip.compress(change(gzip.decompress(data)))

    wrong = {
        "text": [lambda data: other(data, rb"^  = committed +"), lambda data: data[:-10],
                 lambda data: other(data, rb"^  all small +")],
        "json": [lambda data: other(data, rb'"committed_bytes": ?'), lambda data: data[:-10]],
        "prometheus": [lambda data: other(data, rb'^nebula_live_bytes\{[^}]*kind="small"[^}]*\} ')],
        "pprof": [lambda data: unpacked(data, lambda plain: plain[:-3]),
                  lambda data: unpacked(data, lambda plain: plain + b"\x12\x06\x0a\x02\xff\x7f\x12\x00")],
        "collapsed": [lambda data: b"main 5\n" + data, lambda data: data + b"nowhere+0x12 5\n"],
    }
    wrong["html"] = wrong["json"][:1]
    wrong["lines"] = wrong["json"]
    for kind, data in found.values():
        reports.checked(data, kind)
        for place, change in enumerate(wrong[kind]):
            try:
                reports.checked(change(data), kind)
            except reports.Wrong:
                continue
            context.expect(False, f"wrong and taken for right: {kind}, {place}")
    read = {path: (kind, reports.checked(data, kind)) for path, (kind, data) in found.items()}
    reports.check_together(read)
    report_path = next(path for path in read if path.name == "out.json")
    read[report_path][1]["objects"]["small"]["live_bytes"] += 1
    profile_path = next(path for path in read if path.name == "p.pb.gz")
    for path, words in ((report_path, "the page holds another"), (profile_path, "in collapsed stacks")):
        try:
            reports.check_together(read)
        except reports.Wrong as difference:
            context.expect(words in str(difference), f"{difference}")
        else:
            context.expect(False, f"forms that differ are taken for the same: {path}")
        read[report_path][1]["objects"]["small"]["live_bytes"] -= path == report_path
        read[profile_path][1].samples.append(pprof.Sample([], 1, 1 << 30, 1, 1 << 30))


@test
def advice_on_what_stands_out(context):
    """Slabs that a peak left nearly empty are named, with figures that are the report's; nothing odd, no advice."""
    def data_of(program):
        forms = all_forms(context, ["/usr/bin/python3", "-c", program], {"NEBULA_STATS_BEFORE": "_exit"})
        for path in context.scratch.iterdir():
            path.unlink()
        data = read_json(forms["json"])
        context.expect(read_text(forms["text"]).advice == data["advice"], "the text advises otherwise")
        return data

    quiet = data_of("import os; x = [bytes(200) for _ in range(20000)]; os._exit(0)")
    context.expect(quiet["reason"] == "_exit" and quiet["advice"] == [], f'advice on nothing: {quiet["advice"]}')
    sparse = data_of("import os; x = [bytes(200) for _ in range(200000)]; y = x[::40]; del x; os._exit(0)")
    row = next(row for row in sparse["size_classes"] if row["slot_bytes"] == 240)
    held = (row["slabs"] - row["empty_slabs"]) * 65536
    share = row["live_bytes"] * 100 // held
    expected = f'size 240: {share} % of {held:,} bytes in slabs that are not empty are live'
    context.expect(share < 10 and sparse["advice"] and sparse["advice"][0].startswith(expected),
                   f'{sparse["advice"]} where {expected} belongs')


if __name__ == "__main__":
    harness.main(TESTS)
