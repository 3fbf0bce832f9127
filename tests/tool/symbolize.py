#!/usr/bin/python3
"""Names for heap profiles: `nebula symbolize` and `nebula report` of profiles whose functions, files and lines are known, of programs
that are built, stripped, moved, replaced and closed in all ways, and every error."""

import base64
import gzip
import html
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402
import pprof  # noqa: E402
import report  # noqa: E402

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "allocates.cpp"
SPEEDSCOPE = HERE.parents[1] / "build/tools/speedscope"
OWN_FAILURE = 125
TESTS = {}
ONLY_HERE = "(anonymous namespace)::only_here"
CALLS = ["shop::Order::item(unsigned long)", "shop::Order::fill(unsigned long)", "main"]


def test(function):
    TESTS[function.__name__] = function
    return function


def tool_of(test):
    return test.programs.parent.parent / "src/tool/nebula"


def nebula(test, *words, **options):
    return test.run([tool_of(test), *words], preload="", **options)


def refused(test, words, said, **options):
    outcome = nebula(test, *words, **options).ended(OWN_FAILURE).said(said)
    if outcome.errors.count("\n") > 2:
        outcome.fail("expected one or two lines")


def line_of(name):
    return next(number for number, line in enumerate(SOURCE.read_text().splitlines(), 1) if line.endswith(f"// line of {name}"))


def command(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def built(test, *flags, compiler="g++", name="allocates", folder=None):
    path = (folder or test.scratch) / name
    command(compiler, "-O2", "-g", "-std=c++20", *flags, SOURCE, "-o", path, "-ldl", "-Wl,--build-id=sha1")
    return path


def library(path, name):
    path.parent.mkdir(exist_ok=True)
    command("g++", "-O2", "-g", "-std=c++20", "-shared", "-fPIC", f"-DNAME={name}", HERE / "allocates_library.cpp", "-o", path, "-Wl,--build-id=sha1")
    return path


def build_id(path):
    return re.search(r"Build ID: (\w+)", command("readelf", "--notes", path))[1]


def profiled(test, program, *arguments):
    """Everything is a sample, so the numbers are exact. pprof's file; the collapsed ones lie beside it."""
    path = test.scratch / "profile"
    variables = {"NEBULA_PROFILE": "1", "NEBULA_PROFILE_FILE": f"{path}.pb.gz", "NEBULA_PROFILE_FORM": "pprof,collapsed"}
    test.run([program, *arguments], variables).ended(0).quiet()
    return Path(f"{path}.pb.gz")


def symbolized(test, path, *words, quiet=True):
    """The profile with names, whose numbers are still those of the one without."""
    output = test.scratch / "named.pb.gz"
    outcome = nebula(test, "symbolize", path, "-o", output, *words).ended(0).printed("")
    if quiet:
        outcome.quiet()
    before, named = pprof.read(path), pprof.read(output, has_names=True)
    test.expect(named.samples == before.samples and named.locations == before.locations and named.mappings == before.mappings,
                "not only names were added")
    test.expect((named.period, named.time, named.duration, named.comment) == (before.period, before.time, before.duration, before.comment),
                "not only names were added")
    return named, outcome


def sums(profile):
    """{the names from the innermost out: objects and bytes allocated, objects and bytes in use}."""
    found = {}
    for sample in profile.samples:
        row = found.setdefault(tuple(profile.stack(sample)), [0, 0, 0, 0])
        for i, value in enumerate((sample.alloc_objects, sample.alloc_space, sample.inuse_objects, sample.inuse_space)):
            row[i] += value
    return found


def of_chain(test, profile, *chain):
    rows = [row for stack, row in sums(profile).items() if stack[:len(chain)] == chain]
    test.expect(len(rows) == 1, f"{len(rows)} stacks begin {chain}; there are {list(sums(profile))}")
    return rows[0]


def expect_known(test, profile):
    """Functions, files and lines of what allocates.cpp does."""
    test.expect(of_chain(test, profile, *CALLS) == [100, 100 * 96, 100, 100 * 96], f"{sums(profile)}")
    lines = {line.name: line for found in profile.lines.values() for line in found}
    # Of what is of no interest to the linker gcc keeps the name alone; clang has all.
    only_here = ONLY_HERE if ONLY_HERE in lines else f"{ONLY_HERE}(unsigned long)"
    test.expect(of_chain(test, profile, only_here, "main") == [50, 50 * 208, 0, 0], f"{sums(profile)}")
    for name in ("shop::Order::item", "shop::Order::fill", "only_here"):
        line = lines[only_here if name == "only_here" else f"{name}(unsigned long)"]
        test.expect(Path(line.file) == SOURCE and line.line == line_of(name) and 0 < line.line - line.start_line <= 2, f"{line}")
        test.expect(line.system_name.startswith("_Z") or (line.name, line.system_name) == (ONLY_HERE, "only_here"), f"{line}")


@test
def functions_files_and_lines(test):
    """Of programs at fixed and at any addresses, by compilers that write the index of units and that do not, in several versions of DWARF."""
    for compiler, flags in (("g++", ["-pie", "-fPIE"]), ("g++", ["-no-pie", "-fno-pie"]), ("clang++", ["-pie", "-fPIE"]),
                            ("clang++", ["-no-pie", "-gdwarf-4"]), ("g++", ["-gdwarf-4", "-gz"]), ("g++", ["-fuse-ld=gold"]),
                            ("g++", ["-Wl,-z,noseparate-code"])):
        program = built(test, *flags, compiler=compiler)
        profile, _ = symbolized(test, profiled(test, program))
        expect_known(test, profile)
        kind = "EXEC" if "-no-pie" in flags else "DYN"
        header = command("readelf", "--file-header", "--wide", program)
        test.expect(re.search(rf"Type: +{kind} ", header), f"{flags}: {header}")


@test
def with_symbols_alone(test):
    """Without debug information names without lines, of functions that are really in the program; of stripped ones none."""
    program = built(test)
    command("strip", "--strip-debug", program)
    profile, _ = symbolized(test, profiled(test, program))
    test.expect(of_chain(test, profile, CALLS[1], "main")[0] == 100, f"{sums(profile)}")
    test.expect(of_chain(test, profile, f"{ONLY_HERE}(unsigned long)", "main")[0] == 50, f"{sums(profile)}")
    own = [line for location, found in profile.lines.items() for line in found
           if profile.mappings[profile.locations[location][0]].path == str(program)]
    test.expect(own and all(line.line == 0 and line.file == "" for line in own), f"{own}")
    command("strip", program)
    path = profiled(test, program)
    profile, _ = symbolized(test, path)
    own = [location for location, (mapping, _) in profile.locations.items() if profile.mappings[mapping].path == str(program)]
    test.expect(own and not any(location in profile.lines for location in own), f"names in a stripped program: {profile.lines}")
    outcome = nebula(test, "report", path).ended(0).quiet()
    outcome.said(r"^      allocates\+0x[0-9a-f]+$", outcome.output)


@test
def of_a_library_that_is_closed(test):
    """Twice opened at places of its own, and another one of the same file name."""
    one, other = library(test.scratch / "one/lib.so", "makes_one"), library(test.scratch / "other/lib.so", "makes_other")
    path = profiled(test, built(test), one, other, one)
    profile, _ = symbolized(test, path)
    expect_known(test, profile)
    for name, objects in (("makes_one", 20), ("makes_other", 10)):
        rows = [row for stack, row in sums(profile).items() if stack[:3] == (name, "make", "main")]
        test.expect([sum(column) for column in zip(*rows)] == [objects, objects * 320] * 2, f"{name}: {sums(profile)}")
    # Collapsed stacks have the name of the file alone; the frames of these two are not guessed.
    outcome = nebula(test, "symbolize", test.scratch / "profile.live.collapsed").ended(0)
    outcome.said(r"/lib\.so and .*/lib\.so have the same name in the profile: which one a frame is of cannot be told; pprof's form can$")
    outcome.said(r";main;lib\.so\+0x[0-9a-f]+;lib\.so\+0x[0-9a-f]+ \d+$", outcome.output)
    test.expect("makes_" not in outcome.output, outcome.output)


@test
def a_wrong_build_id_is_refused(test):
    """The file of that name is another one by now: named, and no name taken from it."""
    program = built(test)
    path = profiled(test, program)
    was = build_id(program)
    for flags in (["-DOTHER", "-O0"], ["-Wl,--build-id=none"]):
        command("g++", "-g", "-std=c++20", SOURCE, "-o", program, "-ldl", *flags)
        now = "no build id" if "=none" in flags[-1] else "build id " + build_id(program)
        said = rf"^nebula: {program} is not used: {program} has {now}, and the profile's has {was}$"
        profile, outcome = symbolized(test, path, quiet=False)
        outcome.said(said)
        test.expect(outcome.errors.count("\n") == 1, outcome.errors)
        test.expect(not any(line.file == str(SOURCE) for found in profile.lines.values() for line in found), f"{profile.lines}")
        nebula(test, "report", path).ended(0).said(said)
        stacks = nebula(test, "symbolize", test.scratch / "profile.all.collapsed").ended(0).said(said)
        stacks.said(r"allocates\+0x", stacks.output)
        test.expect("only_here" not in stacks.output, stacks.output)
        # A wrong one in a given folder does not hide the right one elsewhere.
        right = test.scratch / "right"
        right.mkdir(exist_ok=True)
        built(test, folder=right)
        test.expect(build_id(right / "allocates") == was, "the compiler does not make the same file twice")
        wrong = test.scratch / "wrong"
        wrong.mkdir(exist_ok=True)
        shutil.copy(program, wrong)
        expect_known(test, symbolized(test, path, "--debug-dir", wrong, "--debug-dir", right)[0])


@test
def of_a_machine_elsewhere(test):
    """Neither program nor library is here any more: found in given folders, whole or as debug information alone, by id, path or name."""
    for flags in (["-pie", "-fPIE"], ["-no-pie"]):
        program, plugin = built(test, *flags), library(test.scratch / "lib/plugin.so", "makes_one")
        path = profiled(test, program, plugin)
        whole, bare = test.scratch / "whole", test.scratch / "bare"
        for folder in (whole, bare):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        ids = {file: build_id(file) for file in (program, plugin)}
        for file in (program, plugin):
            command("objcopy", "--only-keep-debug", file, whole / (file.name + ".debug"))
            command("strip", "-o", bare / file.name, file)
            shutil.move(file, whole / file.name)
        profile, outcome = symbolized(test, path, quiet=False)
        outcome.said(rf"^nebula: {program} is not found; --debug-dir FOLDER says where it is$").said(rf"^nebula: {plugin} is not found")
        test.expect(outcome.errors.count("\n") == 2, outcome.errors)

        def found_in(*folders):
            profile, _ = symbolized(test, path, *(word for folder in folders for word in ("--debug-dir", folder)))
            expect_known(test, profile)
            of_chain(test, profile, "makes_one", "make", "main")
            stacks = nebula(test, "symbolize", test.scratch / "profile.live.collapsed", *(word for folder in folders for word in ("--debug-dir", folder)))
            stacks.ended(0).quiet().said("main;make;makes_one 3200$", stacks.output)

        def moved(names, place):
            """A folder with these files of `whole` where `place` says."""
            root = test.scratch / "root"
            shutil.rmtree(root, ignore_errors=True)
            for file in (program, plugin):
                target = root / place(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(whole / names(file), target)
            return root

        def by_id(ending):
            return lambda file: Path(".build-id") / ids[file][:2] / (ids[file][2:] + ending)

        found_in(moved(lambda file: file.name, lambda file: file.name))
        found_in(moved(lambda file: file.name, lambda file: file.relative_to("/")))
        found_in(moved(lambda file: file.name, by_id("")))
        found_in(moved(lambda file: file.name + ".debug", by_id(".debug")))
        found_in(moved(lambda file: file.name + ".debug", lambda file: file.name + ".debug"))
        found_in(moved(lambda file: file.name + ".debug", lambda file: Path("usr/lib/debug") / by_id(".debug")(file)))
        # The stripped files for the code, and the debug information beside them.
        found_in(bare, moved(lambda file: file.name + ".debug", by_id(".debug")))
        found_in(bare, moved(lambda file: file.name + ".debug", lambda file: file.name + ".debug"))


@test
def debug_information_beside_the_program(test):
    """As distributions leave it: named by the stripped file's debug link, in .debug beside it."""
    program = built(test)
    (test.scratch / ".debug").mkdir()
    link = test.scratch / ".debug/allocates.debug"
    command("objcopy", "--only-keep-debug", program, link)
    command("strip", program)
    command("objcopy", f"--add-gnu-debuglink={link}", program)
    expect_known(test, symbolized(test, profiled(test, program))[0])


@test
def without_build_ids(test):
    """Doubtful, and said so."""
    program = built(test, "-Wl,--build-id=none")
    command("g++", "-O2", "-g", "-std=c++20", SOURCE, "-o", program, "-ldl", "-Wl,--build-id=none")
    path = profiled(test, program)
    profile, outcome = symbolized(test, path, quiet=False)
    outcome.said(rf"^nebula: {program} has no build id in the profile: {program} is taken for it, right or wrong$")
    expect_known(test, profile)
    stacks = nebula(test, "symbolize", test.scratch / "profile.live.collapsed").ended(0).said("is taken for it, right or wrong")
    stacks.said(r"main;shop::Order::fill.*;shop::Order::item", stacks.output)


@test
def flame_graphs_have_the_same_numbers(test):
    """Collapsed stacks with names, made of either form and either way round, are the same."""
    path = profiled(test, built(test), library(test.scratch / "lib/plugin.so", "makes_one"))
    profile, _ = symbolized(test, path)
    named = test.scratch / "named.pb.gz"
    for which, kind, column in (("live", "inuse_space", 3), ("all", "alloc_space", 1)):
        collapsed = test.scratch / f"profile.{which}.collapsed"
        texts = [nebula(test, "symbolize", *words).ended(0).quiet().output for words in (
            [collapsed], [path, "--form", "collapsed", "--of", kind], [named, "--form", "collapsed", "--of", kind])]
        output = test.scratch / "out.collapsed"
        nebula(test, "symbolize", collapsed, "-o", output).ended(0).quiet().printed("")
        texts.append(output.read_text())
        expected = Counter()
        for stack, row in sums(profile).items():
            if row[column]:
                expected[";".join(reversed(stack))] += row[column]
        for text in texts:
            test.expect("# " not in text, text)
            found = {stack: int(size) for stack, _, size in (line.rpartition(" ") for line in text.splitlines())}
            test.expect(found == expected, f"{which}: {found}, expected {expected}")
    texts = [nebula(test, "symbolize", path, "--form", "collapsed", "--of", kind).ended(0).output for kind in ("inuse_objects", "alloc_objects")]
    test.expect([f"{CALLS[0]} 100\n" in text for text in texts] == [True] * 2 and "only_here" in texts[1] and "only_here" not in texts[0], f"{texts}")
    default = nebula(test, "symbolize", path, "--form", "collapsed").ended(0).output
    test.expect(default == nebula(test, "symbolize", path, "--form", "collapsed", "--of", "inuse_space").output, default)


@test
def others_read_what_was_named(test):
    """go's pprof, without any of the program's files; a profile that has names keeps them."""
    program = built(test)
    symbolized(test, profiled(test, program))
    program.unlink()
    named = test.scratch / "named.pb.gz"
    environment = {"PATH": "/usr/bin:/bin:/usr/lib/go-1.19/bin", "HOME": str(test.scratch), "PPROF_TMPDIR": str(test.scratch)}

    def go(*words):
        done = subprocess.run(["go", "tool", "pprof", *map(str, words)], env=environment, capture_output=True, text=True, timeout=120)
        test.expect(done.returncode == 0, f"go tool pprof {words}: {done.stdout}{done.stderr}")
        return done.stdout

    top = go("-top", "-sample_index=alloc_space", "-unit=B", named)
    # The program's start allocates too.
    test.expect(re.search(r"^ +9600B .* shop::Order::item.* \(inline\)$", top, re.MULTILINE) and re.search(r"^ +10400B .*::only_here$", top, re.MULTILINE), top)
    test.expect(f"{SOURCE}:{line_of('shop::Order::item')}" in go("-traces", "-lines", named), go("-traces", "-lines", named))
    again = test.scratch / "again.pb.gz"
    outcome = nebula(test, "symbolize", named, "-o", again).ended(0)
    expect_known(test, pprof.read(again, has_names=True))
    by_go = test.scratch / "forged/by_go.pb.gz"  # not a report of ours
    by_go.parent.mkdir()
    go("-proto", f"-output={by_go}", named)
    outcome = nebula(test, "report", by_go).ended(0)
    outcome.said(rf"^      shop::Order::item.unsigned long. .allocates\.cpp:{line_of('shop::Order::item')}.$", outcome.output)


@test
def speedscope_in_a_browser(test):
    """Chromium shows its table of functions and bytes, of pprof's form (where it leaves inlined calls out) and of collapsed stacks."""
    page = SPEEDSCOPE / "dist/release/index.html"
    if not page.exists():
        raise harness.Skip(f"there is no speedscope at {SPEEDSCOPE}: scripts/setup.sh test fetches it from npm")
    path = profiled(test, built(test))
    symbolized(test, path)
    stacks = test.scratch / "stacks.collapsed"
    nebula(test, "symbolize", path, "--form", "collapsed", "-o", stacks).ended(0).quiet()
    raw = test.scratch / "profile.live.collapsed"
    for file, expected in ((test.scratch / "named.pb.gz", [CALLS[1], "main"]), (stacks, [*CALLS]), (raw, [raw.read_text().split(";")[0]])):
        # As speedscope's own command line hands a file over.
        script = test.scratch / "load.js"
        contents = base64.b64encode(file.read_bytes()).decode()
        # The table gets its rows by a frame of the screen or when the window's size changes; a page may be dumped before its first frame.
        script.write_text(f"speedscope.loadFileFromBase64({json.dumps(file.name)}, {json.dumps(contents)});"
                          "setInterval(() => window.dispatchEvent(new Event('resize')), 100)")
        address = f"{page.as_uri()}#localProfilePath={script}&view=sandwich"
        drawn = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,2000",
                                f"--user-data-dir={test.scratch}/browser", "--virtual-time-budget=20000", "--dump-dom", address],
                               capture_output=True, text=True, timeout=120, check=True).stdout
        words = html.unescape(drawn)
        test.expect(f"<title>{file.name} - speedscope</title>" in words, f"{file.name} was not opened: {words[-2000:]}")
        for name in expected:
            test.expect("9.38 KB (100%)" in words or file.suffix == ".collapsed" and ">9,600 (100%)<" in words, f"{file.name}: {words[-4000:]}")
            test.expect(f">{name}<" in words.replace("</mark>", ""), f"no {name} in {file.name}: {words[-4000:]}")


@test
def a_report_of_a_profile(test):
    """Totals, sites and their sums, live and all, with names; of collapsed stacks too."""
    path = profiled(test, built(test), library(test.scratch / "lib/plugin.so", "makes_one"))
    profile = pprof.read(path)
    outcome = nebula(test, "report", path).ended(0).quiet()
    lines = outcome.output.splitlines()
    outcome.said(rf"^heap profile of {test.scratch}/allocates, written \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC, after \d+\.\d s; one sample in 1 bytes$", lines[0])

    def objects_of(count):
        return f"{count:,} object{'' if count == 1 else 's'}"

    for line, name, objects, size in ((lines[1], "live", "inuse_objects", "inuse_space"), (lines[2], "allocated", "alloc_objects", "alloc_space")):
        test.expect(re.sub(" +", " ", line) == f" {name} {profile.total(size):,} bytes in {objects_of(profile.total(objects))}; standard error 0 bytes", line)
    for heading, tail, column in (("live", r"; of ([\d,]+) allocated in [\d,]+ objects?", "inuse_space"), ("allocated", "", "alloc_space")):
        for wanted in (1, 2, 1000):
            output = nebula(test, "report", path, "--sites", wanted).ended(0).quiet().output
            table = re.search(rf"^{heading}: .*\n(?:  .*\n)*", output, re.MULTILINE)[0].splitlines()
            sizes = [int(found[1].replace(",", "")) for found in (re.fullmatch(rf"  ([\d,]+) bytes, \d+\.\d % in [\d,]+ objects?{tail}", line) for line in table) if found]
            rest = re.fullmatch(r"  ([\d,]+) bytes of ([\d,]+) other sites?", table[-1])
            count = len({site for site, row in sums(symbolized(test, path)[0]).items() if row[3 if column == "inuse_space" else 1]})
            test.expect(table[0] == (f"{heading}: the {wanted} largest of {count} sites" if count > wanted else f"{heading}: {count} sites"), table[0])
            test.expect(sizes == sorted(sizes, reverse=True) and len(sizes) == min(wanted, count) and bool(rest) == (count > wanted), f"{table}")
            test.expect(sum(sizes) + (int(rest[1].replace(",", "")) if rest else 0) == profile.total(column), f"{table}")
    outcome.said(rf"^  9,600 bytes, \d+\.\d % in 100 objects; of 9,600 allocated in 100 objects\n      shop::Order::item.unsigned long. "
                 rf".allocates\.cpp:{line_of('shop::Order::item')}.\n      shop::Order::fill.unsigned long. .allocates\.cpp:{line_of('shop::Order::fill')}.\n      main ",
                 outcome.output)
    outcome.said(r"^  10,400 bytes, \d+\.\d % in 50 objects\n      .anonymous namespace.::only_here", outcome.output)
    collapsed = nebula(test, "report", test.scratch / "profile.live.collapsed").ended(0).quiet()
    collapsed.said(rf"^  bytes +{profile.total('inuse_space'):,}$", collapsed.output).said(r"^  9,600 bytes, \d+\.\d %\n      shop::Order::item", collapsed.output)


@test
def the_error_of_estimates(test):
    """What a report says of it is what the library's own report says, for sites of one size."""
    program = built(test)
    for period in (100, 4096):
        variables = {"NEBULA_PROFILE": str(period), "NEBULA_PROFILE_FILE": f"{test.scratch}/p.pb.gz", "NEBULA_STATS": "1",
                     "NEBULA_STATS_FILE": f"{test.scratch}/out"}
        test.run([program], variables).ended(0).quiet()
        text = report.checked((test.scratch / "out").read_text())
        outcome = nebula(test, "report", test.scratch / "p.pb.gz").ended(0).quiet()
        for which in ("live", "allocated"):
            said = int(re.search(rf"^  {which} .*; standard error ([\d,]+) bytes$", outcome.output, re.MULTILINE)[1].replace(",", ""))
            test.expect(abs(said - text.profile[f"{which}_error"]) <= 0.02 * said + 2, f"{which}: {said}, the library says {text.profile}")


@test
def errors(test):
    path = profiled(test, built(test))
    collapsed = test.scratch / "profile.live.collapsed"

    forged = test.scratch / "forged"
    forged.mkdir()

    def made(name, contents):
        (forged / name).write_bytes(contents)
        return forged / name

    whole = path.read_bytes()
    plain = gzip.decompress(whole)
    for verb in ("symbolize", "report"):
        refused(test, [verb, "/nowhere.pb.gz"], r"/nowhere\.pb\.gz cannot be read")
        refused(test, [verb, test.scratch], r"cannot be read")
        refused(test, [verb, made("short.pb.gz", whole[:-20])], r"short\.pb\.gz is not whole")
        refused(test, [verb, made("damaged.pb.gz", whole[:-8] + b"12345678")], r"damaged\.pb\.gz (is not whole|cannot be read): .*(crc|check|length|data)")
        refused(test, [verb, path, "--debug-dir", "/nowhere"], r"--debug-dir /nowhere: there is no such folder")
        refused(test, [verb], r"(PROFILE|FILE) is required")
    for contents in (b"hello\n", b"{}", b"[1]", b"", bytes(range(256)).replace(b"\n", b""), plain[:len(plain) // 2]):
        refused(test, ["symbolize", made("other", contents)], r"other is no profile(; accepted: what NEBULA_PROFILE writes|: )")
    # Of a table with the empty word, a sample at location 5, of which there is none.
    refused(test, ["symbolize", made("broken", b"\x32\x00\x12\x02\x08\x05")], r"broken is no profile: a sample has a location that it does not have")
    refused(test, ["symbolize", path, "--form", "svg"], r"--form svg is not understood; accepted: pprof, collapsed")
    refused(test, ["symbolize", collapsed, "--form", "pprof"], r"has collapsed stacks, of which no pprof profile can be made; NEBULA_PROFILE_FORM=pprof writes one")
    refused(test, ["symbolize", path, "--form", "collapsed", "--of", "love"], r"the profile has no love; it has alloc_objects, alloc_space, inuse_objects, inuse_space")
    refused(test, ["symbolize", path, "--of", "alloc_space"], r"--of alloc_space is for collapsed stacks made of a pprof profile")
    refused(test, ["symbolize", path, "-o", "/nowhere/out.pb.gz"], r"/nowhere/out\.pb\.gz cannot be written")
    refused(test, ["symbolize", path, "-o", test.scratch], r"cannot be written")
    refused(test, ["symbolize", collapsed, "-o", "/dev/full"], r"/dev/full cannot be written")
    refused(test, ["report", path, "-o", "page.html"], r"is a heap profile, which is shown as text; `nebula symbolize` writes one for other programs")
    refused(test, ["report", path, "--sites", "many"], r"--sites")
    test.expect(Path("/dev/full").is_char_device(), "a device was replaced by a file")
    with open("/dev/full", "w") as full:
        nebula(test, "symbolize", collapsed, stdout=full).ended(OWN_FAILURE).said("standard output cannot be written to")
        nebula(test, "symbolize", path, stdout=full).ended(OWN_FAILURE).said("standard output cannot be written to")
    own, terminal = pty.openpty()
    nebula(test, "symbolize", path, stdout=terminal).ended(OWN_FAILURE).said("a pprof profile is not for a terminal: -o FILE, or --form collapsed")
    os.close(own)
    os.close(terminal)
    # Over itself, and through a pipe.
    nebula(test, "symbolize", path, "-o", path).ended(0).quiet()
    expect_known(test, pprof.read(path, has_names=True))
    piped = test.scratch / "piped.pb.gz"
    with piped.open("wb") as file:
        nebula(test, "symbolize", path, stdout=file).ended(0).quiet()
    expect_known(test, pprof.read(piped, has_names=True))
    test.expect(not list(test.scratch.glob("*.part")), "a part was left")


if __name__ == "__main__":
    harness.main(TESTS)
