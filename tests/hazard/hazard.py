#!/usr/bin/python3
"""What has broken other preloaded allocators, one test per hazard: run a program under some limit, signal, fork or
variable and judge how it ends. Most programs judge themselves and end with status 0."""

import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402
import report  # noqa: E402
from harness import Skip  # noqa: E402

BAD_LIMIT_STATUS = 78
NOBODY = 65534

# The first line of a report, which names the process.
ANY_REPORT = r"^nebula.*\bpid \d+\b"

ENTRY_POINTS = """
    malloc free calloc realloc reallocarray aligned_alloc memalign posix_memalign valloc pvalloc malloc_usable_size cfree
    free_sized free_aligned_sized __libc_malloc __libc_free __libc_calloc __libc_realloc __libc_memalign __libc_valloc
    __libc_pvalloc __posix_memalign mallinfo mallinfo2 mallopt malloc_trim malloc_stats malloc_info
""".split()
# operator new and delete: plain, array, nothrow, aligned, sized, and what of it combines.
OPERATORS = [
    f"_Z{name}{size}{form}"
    for name, size, forms in (
        ("nw", "m", ("", "RKSt9nothrow_t", "St11align_val_t", "St11align_val_tRKSt9nothrow_t")),
        ("na", "m", ("", "RKSt9nothrow_t", "St11align_val_t", "St11align_val_tRKSt9nothrow_t")),
        ("dl", "Pv", ("", "m", "RKSt9nothrow_t", "St11align_val_t", "mSt11align_val_t", "St11align_val_tRKSt9nothrow_t")),
        ("da", "Pv", ("", "m", "RKSt9nothrow_t", "St11align_val_t", "mSt11align_val_t", "St11align_val_tRKSt9nothrow_t")),
    )
    for form in forms
]

TESTS = {}


def test(function):
    TESTS[function.__name__] = function
    return function


def plain(name, *arguments, program=None, variables=None, output=None):
    """A program that judges itself: ends with 0 and says nothing on stderr."""

    def run(test):
        outcome = test.run([test.program(program or name), *arguments], variables).ended(0).quiet()
        if output is not None:
            outcome.printed(output)

    TESTS[name] = run


def limit(which, soft, hard=None):
    return lambda: resource.setrlimit(which, (soft, soft if hard is None else hard))


# The letter of the API.

plain("api_zero_sizes")
plain("api_too_large")
plain("api_alignment")
plain("api_errno")
plain("api_usable_size")
plain("api_calloc_zero")
plain("api_realloc_contents")
plain("api_aliases")
plain("operator_new", output="finished\n")
plain("malloc_trim")
plain("mallinfo")
plain("sparse_regions")


@test
def budget(test):
    """Two programs that judge themselves at the limit; what is said about it has a test of its own."""
    test.run([test.program("budget")], {"NEBULA_BUDGET": "64M"}).ended(0)
    test.run([test.program("operator_new"), "budget"], {"NEBULA_BUDGET": "64M"}).ended(0).printed("finished\n")


@test
def entry_points_exported(test):
    listing = subprocess.run(["nm", "--dynamic", "--defined-only", test.library], check=True, capture_output=True,
                             text=True).stdout
    exported = {fields[2] for fields in map(str.split, listing.splitlines()) if len(fields) == 3 and fields[1] in "TWi"}
    missing = [name for name in ENTRY_POINTS + OPERATORS if name not in exported]
    test.expect(not missing, f"not exported by {test.library}: {' '.join(missing)}")


@test
def entry_points_provided(test):
    test.run([test.program("provider"), test.library, *ENTRY_POINTS, *OPERATORS]).ended(0).printed("").quiet()


def checked(outcome, text):
    """The report that a text is, whole and consistent."""
    try:
        return report.checked(text)
    except report.Wrong as wrong:
        outcome.fail(f"{wrong}\n{text}")


def behind_the_words(text):
    """What follows the lines that say why the process dies and who holds its memory."""
    return re.sub(r"\A(nebula: .*\n)+", "", text)


def budget_abort(threads, size):
    """Ten runs: whoever is refused first writes one report, whole, before anyone ends the process."""

    def run(test):
        for _ in range(10):
            outcome = test.run([test.program("greedy_threads"), threads, size],
                               {"NEBULA_BUDGET": "16M", "NEBULA_BUDGET_ACTION": "abort"},
                               before=limit(resource.RLIMIT_CORE, 0)).ended(-signal.SIGABRT)
            outcome.said(r"\Anebula: NEBULA_BUDGET is exhausted: [\d,]+ bytes were asked for, .*; aborting\nnebula:   live: ")
            found = checked(outcome, behind_the_words(outcome.errors))
            if found.budget["refusals"] < 1 or found.ladder["= committed"] < 8 << 20:
                outcome.fail("a report that shows no use of the budget")
            if threads == 1 and not found.at_rest:
                outcome.fail("one thread, and the report took no locks")

    return run


for threads in (1, 9):
    for size in (100, 50000):
        TESTS[f"budget_abort_{threads}_{size}"] = budget_abort(threads, size)


@test
def malloc_info(test):
    outcome = test.run([test.program("malloc_info")]).ended(0)
    try:
        root = xml.fromstring(outcome.output)
    except xml.ParseError as error:
        outcome.fail(f"malloc_info's XML: {error}")
    test.expect(root.tag == "malloc" and len(root) > 0, f"malloc_info's XML: <{root.tag}> with {len(root)} elements")
    if not outcome.errors.strip():
        outcome.fail("malloc_stats wrote nothing")


# Limits of the machine.


def address_space(size, least=850):
    def run(test):
        test.run([test.program("address_space"), least, size],
                 before=limit(resource.RLIMIT_AS, 1_000_000 * 1024)).ended(0).quiet()

    return run


TESTS["address_space_small"] = address_space("64")
TESTS["address_space_page"] = address_space("4096")
TESTS["address_space_large"] = address_space("1048576")
# Large objects take units of 64 KiB, and 300,000 bytes take five: that much more of the address space.
TESTS["address_space_odd"] = address_space("300000", least=850 * 300_000 // (5 * 65536))


@contextlib.contextmanager
def system_setting(path, value):
    """A file of /proc/sys, changed and put back whatever happens."""
    file = Path(path)
    try:
        before = file.read_text()
        file.write_text(value)
    except OSError as error:
        raise Skip(f"{path} cannot be set: {error}") from None
    try:
        yield
    finally:
        file.write_text(before)


@contextlib.contextmanager
def overcommit_ratio_kept():
    """The kernel sets it to 0 when overcommit_kbytes is written."""
    file = Path("/proc/sys/vm/overcommit_ratio")
    before = file.read_text()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.write_text(before)


@test
def overcommit_never(test):
    # The limit counts the whole machine: room for us beside whatever else runs.
    committed = int(re.search(r"Committed_AS:\s+(\d+) kB", Path("/proc/meminfo").read_text())[1])
    with overcommit_ratio_kept(), \
            system_setting("/proc/sys/vm/overcommit_kbytes", str(committed + 2 * 1024 * 1024)), \
            system_setting("/proc/sys/vm/overcommit_memory", "2"):
        test.run([test.program("basics"), "65536"], timeout=20).ended(0).printed("finished\n").quiet()


plain("mlockall", program="locked_memory")


@test
def mlockall_unprivileged(test):
    if os.geteuid() != 0:
        raise Skip("needs to become another user")
    test.run([test.program("locked_memory"), "unprivileged"]).ended(0).quiet()


def without_right_to_lock(most):
    """For a child: it and what it executes may lock so many bytes."""
    prctl, drop, ipc_lock = ctypes.CDLL(None).prctl, 24, 14  # PR_CAPBSET_DROP, CAP_IPC_LOCK

    def drop_it():
        if prctl(drop, ipc_lock, 0, 0, 0) != 0:
            raise OSError("the capability cannot be dropped")
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))

    return drop_it


def pages(test, *words, variables, before=None):
    """What the program says of itself, by name, and its report."""
    outcome = test.run([test.program("pages"), *words], {"NEBULA_STATS": "1", **variables}, before=before).ended(0)
    found = dict(re.findall(r"(\w+) (\d+)", outcome.output))
    text = behind_the_words(outcome.errors) if "reclaiming\n" in outcome.errors else outcome.errors
    return {name: int(number) for name, number in found.items()}, checked(outcome, text)


@test
def purge_policies(test):
    """NEBULA_PURGE: what the kernel says is resident, at once, after 0.4 and after 1.6 seconds."""
    cases = {"never": ((60, 80), (60, 80), (60, 80)), "now": ((0, 6), (0, 6), (0, 6)), "delay:100ms": ((60, 80), (0, 8), (0, 8)),
             "delay:1s": ((60, 80), (60, 80), (0, 8)), "": ((60, 80), (60, 80), (3, 50))}
    for policy, expected in cases.items():
        seen, its_report = pages(test, "purge", variables={"NEBULA_PURGE": policy} if policy else {})
        for (least, most), moment in zip(expected, ("freed", "soon", "late")):
            if not least <= seen[moment] <= most:
                raise harness.Failure(f"NEBULA_PURGE={policy}: resident {seen}, expected {expected}")
        purged = its_report.pages["purged"]
        if (purged == 0) != (policy == "never"):
            raise harness.Failure(f"NEBULA_PURGE={policy}: the report says {its_report.pages}")
    # Slabs that are empty age by being looked at twice.
    for policy, expected in {"never": ((60, 80), (60, 80)), "now": ((0, 6), (0, 6)), "delay:100ms": ((60, 80), (0, 8))}.items():
        seen, _ = pages(test, "purge", "5000", variables={"NEBULA_PURGE": policy})
        for (least, most), moment in zip(expected, ("freed", "late")):
            if not least <= seen[moment] <= most:
                raise harness.Failure(f"slabs, NEBULA_PURGE={policy}: resident {seen}, expected {expected}")
    # A limit takes back what is free all the same.
    limited = {"NEBULA_PURGE": "never", "NEBULA_BUDGET_SOFT": "24M"}
    seen, its_report = pages(test, "purge", variables=limited)
    if its_report.pages["purged"] < 32 << 20 or seen["soon"] > 28:
        raise harness.Failure(f"{limited}: {seen}, {its_report.pages}")


@test
def purge_kinds(test):
    """NEBULA_PURGE_KIND: idle memory is advised about and stays; a limit takes it back all the same."""
    for kind in ("free", "cold", "pageout"):
        variables = {"NEBULA_PURGE_KIND": kind, "NEBULA_PURGE": "delay:100ms"}
        seen, its_report = pages(test, "purge", variables=variables)
        told = its_report.pages
        if told["purged"] != 0 or not 56 << 20 <= told["advised"] <= 80 << 20 or told["advice_refusals"] != 0:
            raise harness.Failure(f"{variables}: the report says {told}")
        if (seen["lazy"] >= 50) != (kind == "free") or (kind != "pageout" and seen["late"] < 55):
            raise harness.Failure(f"{variables}: {seen}")
        limited = {**variables, "NEBULA_BUDGET_SOFT": "24M"}
        seen, its_report = pages(test, "purge", variables=limited)
        if its_report.pages["purged"] < 32 << 20 or seen["late"] > 28:
            raise harness.Failure(f"{limited}: {seen}, {its_report.pages}")


@test
def sparse_slabs(test):
    """Pages of slabs in use that hold nothing go back: on request, before the program grows, with time, and for a limit."""
    policies = {"": True, "never": False, "delay:500ms": True, "now": True}
    for how, always in (("trim", True), ("grow", False), ("work", False)):
        for policy, gives in policies.items():
            seen, its_report = pages(test, "sparse", how, variables={"NEBULA_PURGE": policy} if policy else {})
            least, most = (0, 24) if how != "grow" else (60, 100)
            if not (always or gives):
                least, most = (60, 80) if how != "grow" else (110, 140)
            test.expect(60 <= seen["full"] <= 80 and least <= seen["then"] <= most, f"{how}, NEBULA_PURGE={policy}: {seen}, {its_report.pages}")
            test.expect(its_report.pages.get("slab_purged", 0) >= (32 << 20 if gives and not always else 0), f"{how}: {its_report.pages}")
    # Nothing else could be given back, so the program would die of it.
    seen, its_report = pages(test, "sparse", "grow", variables={"NEBULA_BUDGET": "100M", "NEBULA_PURGE": "never"})
    test.expect(its_report.budget["refusals"] == 0 and its_report.budget["hits"] > 0 and its_report.reclaim["slab_pages_bytes"] > 24 << 20,
                f"within a limit: {seen}, {its_report.budget}, {its_report.reclaim}")


@test
def reserve(test):
    """NEBULA_RESERVE: the page faults come before main, and idling takes nothing of it."""
    small = {"NEBULA_THP": "never"}
    seen, _ = pages(test, "faults", "48", variables=small)
    test.expect(seen["faults"] > 10_000 and seen["resident"] < 16, f"without a reserve: {seen}")
    seen, its_report = pages(test, "faults", "48", variables={**small, "NEBULA_RESERVE": "64M"})
    told = [its_report.pages[f"reserve_{part}"] for part in ("asked", "obtained", "touched")]
    test.expect(seen["faults"] < 500 and seen["resident"] >= 64 and told == [64 << 20] * 3, f"with a reserve: {seen}, {told}")
    seen, its_report = pages(test, "purge", variables={**small, "NEBULA_RESERVE": "48M", "NEBULA_PURGE": "now"})
    test.expect(48 <= seen["before"] <= 64 and seen["late"] <= 6 and its_report.ladder["= committed"] >= 48 << 20 and
                its_report.pages["purged"] >= 12 << 20, f"purged at once, but for the reserve: {seen}, {its_report.pages}")


@test
def reserve_beyond_what_there_is(test):
    program = [test.program("pages"), "faults", "8"]
    variables = {"NEBULA_BUDGET": "64M", "NEBULA_RESERVE": "1G:strict", "NEBULA_STATS": "1"}
    words = r"\Anebula: NEBULA_RESERVE: of 1,073,741,824 bytes [\d,]+ could be had .*; "
    test.run(program, variables).ended(BAD_LIMIT_STATUS).printed("").said(words + r"not running with less \(without :strict it would\)\n\Z")
    for changed in ({"NEBULA_RESERVE": "1G"}, {"NEBULA_ABORT_CONF": "0"}):
        outcome = test.run(program, {**variables, **changed}).ended(0).said(words + r"running with these\n")
        told = checked(outcome, behind_the_words(outcome.errors)).pages
        test.expect(56 << 20 <= told["reserve_touched"] == told["reserve_obtained"] <= 64 << 20, f"{changed}: {told}")
    outcome = test.run(program, {"NEBULA_RESERVE": "1G", "NEBULA_STATS": "1"}, before=limit(resource.RLIMIT_AS, 256 << 20)).ended(0).said(words)
    told = checked(outcome, behind_the_words(outcome.errors)).pages
    test.expect(128 << 20 <= told["reserve_touched"] <= 256 << 20, f"in a small address space: {told}")
    test.run(program, {"NEBULA_RESERVE": "half"}).ended(0).said(r"\Anebula: NEBULA_RESERVE=half is not understood; accepted: a size: 512M; ")


@test
def locked_heap(test):
    """NEBULA_LOCK: all that is mapped is locked, or as much as the limit allows; a child has no locks."""
    if os.geteuid() != 0:
        raise Skip("needs the right to lock memory")
    for purge in ("now", "never"):
        seen, its_report = pages(test, "locked", "100", variables={"NEBULA_LOCK": "1", "NEBULA_PURGE": purge})
        told = its_report.pages
        test.expect(told["lock_obtained"] == told["lock_asked"] >= 100 << 20 and seen["child"] == 0 and
                    abs(seen["locked"] - told["lock_obtained"] // (1 << 20)) <= 1, f"{seen}, {told}")
    seen, its_report = pages(test, "locked", "100", variables={}, before=without_right_to_lock(8 << 20))
    test.expect(seen["locked"] == 0, f"without NEBULA_LOCK: {seen}")
    seen, its_report = pages(test, "locked", "100", variables={"NEBULA_LOCK": "1"}, before=without_right_to_lock(8 << 20))
    told = its_report.pages
    test.expect(4 << 20 <= told["lock_obtained"] <= 8 << 20 and told["lock_refusals"] > 0 and seen["locked"] <= 8 and
                told["lock_asked"] >= 100 << 20, f"with a limit: {seen}, {told}")
    told = pages(test, "locked", "20", variables={"NEBULA_LOCK": "1"}, before=without_right_to_lock(0))[1].pages
    test.expect(told["lock_obtained"] == 0 and told["lock_refusals"] > 0, f"without any right: {told}")


@test
def pool_of_huge_pages(test):
    """NEBULA_HUGETLB: as much as the pool has, the rest in ordinary memory."""
    seen, its_report = pages(test, "pool", "40", variables={"NEBULA_HUGETLB": "1", "NEBULA_BUDGET": "1G"})
    told = its_report.pages
    free = int(re.search(r"HugePages_Free:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    if free == 0:
        test.expect(told["hugetlb_obtained"] == 0 and told["hugetlb_refusals"] > 0 and seen["pool"] == 0, f"without a pool: {seen}, {told}")
    with system_setting("/proc/sys/vm/nr_hugepages", "64"):
        there = int(Path("/proc/sys/vm/nr_hugepages").read_text())
        if there < 64:
            raise Skip(f"of a pool of 64 huge pages the system has {there}")
        for variables in ({}, {"NEBULA_PURGE": "now"}, {"NEBULA_LOCK": "1"}, {"NEBULA_RESERVE": "100M"}, {"NEBULA_BUDGET": "1G"}):
            for size in ("40", "200"):
                seen, its_report = pages(test, "pool", size, variables={"NEBULA_HUGETLB": "1", **variables})
                told = its_report.pages
                test.expect(told["hugetlb_obtained"] >> 20 == seen["pool"] or told["hugetlb_obtained"] >= 40 << 20 <= seen["pool"] << 20,
                            f"{variables}, {size}: {seen}, {told}")
                test.expect(size == "40" or (told["hugetlb_obtained"] > 100 << 20 and told["hugetlb_refusals"] > 0),
                            f"{variables}, {size}: {seen}, {told}")


@test
def huge_page_policies(test):
    """NEBULA_THP: where the kernel has it noted that huge pages are wanted."""
    for policy, size, least, most in (("always", 8, 8, 20), ("always", 100, 90, 170), ("never", 100, 0, 0), ("auto", 8, 0, 0),
                                      ("auto", 100, 40, 110)):
        seen, its_report = pages(test, "huge", str(size), variables={"NEBULA_THP": policy})
        if not least <= seen["wanted"] <= most or seen["wanted"] + seen["unwanted"] < size:
            raise harness.Failure(f"NEBULA_THP={policy}, {size} MiB: {seen}")
        if abs(its_report.pages["huge_regions"] * 2 - seen["wanted"]) > 2:
            raise harness.Failure(f"NEBULA_THP={policy}, {size} MiB: {seen}, the report says {its_report.pages}")


plain("small_stacks")


@test
def small_stack_ends(test):
    """The report, a refusal, words on misuse and a look at a foreign pointer fit on 16 KiB too."""
    program = test.program("small_stack_ends")
    outcome = test.run([program, "exit"], {"NEBULA_STATS": "1"}).ended(0)
    checked(outcome, outcome.errors)
    outcome = test.run([program, "stats"]).ended(0)
    checked(outcome, outcome.errors)
    test.run([program, "foreign"]).ended(0).quiet()
    test.run([program, "refusal"], {"NEBULA_BUDGET": "16M", "NEBULA_BUDGET_SOFT": "8M"}).ended(0)
    outcome = test.run([program, "refusal"], {"NEBULA_BUDGET": "16M", "NEBULA_BUDGET_ACTION": "abort"},
                       before=limit(resource.RLIMIT_CORE, 0)).ended(-signal.SIGABRT)
    checked(outcome, behind_the_words(outcome.errors))
    outcome = test.run([program, "misuse"], {"NEBULA_ON_MISUSE": "warn"}).ended(0)
    if len(re.findall(r"^nebula: (?:double )?free of ", outcome.errors, re.MULTILINE)) != 2:
        outcome.fail("expected two lines on misuse")


plain("library_pages")
plain("mappings")


def core_size(test, preload):
    """The bytes of a core dump of a program with a heap that is next to empty."""
    core = test.scratch / f"core.{len(list(test.scratch.iterdir()))}"
    if shutil.which("gcore"):
        process = subprocess.Popen([test.program("crashes"), "wait"], env={"LD_PRELOAD": preload}, stdout=subprocess.PIPE)
        try:
            process.stdout.readline()
            subprocess.run(["gcore", "-o", core, str(process.pid)], capture_output=True, stdin=subprocess.DEVNULL,
                           timeout=60)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        core = core.with_name(f"{core.name}.{process.pid}")
        if not core.exists():
            raise Skip("gcore cannot attach to a process here")
    else:
        if Path("/proc/sys/kernel/core_pattern").read_text() != "core\n":
            raise Skip("there is no gcore, and cores go elsewhere than into the working directory")
        test.run([test.program("crashes")], preload=preload, cwd=test.scratch, before=limit(
            resource.RLIMIT_CORE, resource.RLIM_INFINITY)).ended(-signal.SIGABRT)
        (test.scratch / "core").rename(core)
    return core.stat().st_size


@test
def core_dump(test):
    """A core holds what is mapped, so what is mapped is what is used: within 16 MiB of a core without the library."""
    plain_size, size = core_size(test, ""), core_size(test, str(test.library))
    test.expect(size <= plain_size + (16 << 20), f"a core of {size} bytes, without the library {plain_size}")


plain("seccomp", output="finished\n")
plain("rseq_unregistered", variables={"GLIBC_TUNABLES": "glibc.pthread.rseq=0"})


@test
def seccomp_report(test):
    """The report at the exit of a program in a sandbox needs two calls more than the heap."""
    for variables in ({"NEBULA_STATS": "1"}, {"NEBULA_BUDGET": "1G", "NEBULA_STATS": "1"}):
        outcome = test.run([test.program("seccomp"), "report"], variables).ended(0).printed("finished\n")
        checked(outcome, outcome.errors)


@test
def stack_unlimited(test):
    """The legacy layout, where mappings grow upwards from a third of the address space."""
    unlimited = limit(resource.RLIMIT_STACK, resource.RLIM_INFINITY)
    test.run([test.program("basics"), "65536000"], before=unlimited).ended(0).printed("finished\n").quiet()
    test.run([test.program("api_realloc_contents")], before=unlimited).ended(0).quiet()


@test
def addresses_not_random(test):
    test.run(["setarch", "-R", test.program("basics"), "65536000"]).ended(0).printed("finished\n").quiet()


@test
def one_processor(test):
    """More threads than processors: a lock that only spins would hang or crawl."""

    def first_processor_only():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    test.run([test.program("basics"), "65536000"], before=first_processor_only).ended(0).printed("finished\n").quiet()
    test.run([test.program("thread_storm"), 5], before=first_processor_only).ended(0).quiet()


# Descriptors that are not what they seem.


def data_file(how):
    def run(test):
        def close_standard():
            for descriptor in (0, 1, 2):
                os.close(descriptor)

        data = test.scratch / "data"
        outcome = test.run([test.program("closed_descriptors"), data, how],
                           {"NEBULA_STATS": "1", "NEBULA_ON_MISUSE": "warn"},
                           before=close_standard if how == "closed" else None).ended(0).printed("")
        if data.read_bytes() != b"the user's data\n":
            outcome.fail(f"the data file was harmed: {data.read_bytes()!r}")
        # A report that was asked for reaches the terminal if there was one at the start.
        reports = len(re.findall(ANY_REPORT, outcome.errors, re.MULTILINE))
        if reports != (how == "replace"):
            outcome.fail(f"found {reports} reports on standard error")

    return run


TESTS["descriptors_closed"] = data_file("closed")
TESTS["descriptors_replaced"] = data_file("replace")


LOG_LINE = r"\d{8}T\d{6}Z (\d+) (error|warning|info|debug): (.+)"


def log_lines(test, name):
    """[(pid, level, words)] of a log in the scratch folder, each line whole."""
    text = (test.scratch / name).read_text()
    found = [re.fullmatch(LOG_LINE, line) for line in text.split("\n")[:-1]]
    test.expect(text.endswith("\n") and all(found), f"a log with other lines: {text}")
    return [line.groups() for line in found]


def has_lines(test, lines, *expected):
    for level, words in expected:
        if not any(line[1] == level and re.search(words, line[2]) for line in lines):
            raise harness.Failure(f"no line of level {level} has /{words}/:\n" + "\n".join(map(str, lines)))


@test
def log_levels(test):
    """NEBULA_LOG: each level has what the one above has, and its own."""
    program = [test.program("pages"), "purge"]
    variables = {"NEBULA_BUDGET_SOFT": "24M", "NEBULA_PURGE": "delay:100ms", "NEBULA_STATS": "yes"}
    own = {"error": [], "warning": ["NEBULA_STATS=yes is not understood", "committed memory is above NEBULA_BUDGET_SOFT"],
           "info": [r"serves pages, pid \d+: NEBULA_", r"memory comes from .*, for 1 heap", "soft limit 25,165,824 bytes, no limit on the process",
                    "pages: the system's huge pages are "],
           "debug": [r"growth: [\d,]+ bytes of addresses", r"purge: [\d,]+ bytes given back \((idle|soft limit)\)", "reclaim: own pools 1 times more"]}
    levels = list(own)
    for level in levels:
        outcome = test.run(program, {**variables, "NEBULA_LOG": level}).ended(0)
        for other in levels:
            for words in own[other]:
                if bool(re.search(r"^nebula: .*" + words, outcome.errors, re.MULTILINE)) != (levels.index(other) <= levels.index(level)):
                    outcome.fail(f"NEBULA_LOG={level}, and /{words}/ is of {other}")
    unset, warning = (re.sub(r" NEBULA_LOG=\S+", "", test.run(program, {**variables, **log}).ended(0).errors) for log in ({}, {"NEBULA_LOG": "warning"}))
    test.expect(unset == warning, f"warnings are the default: {unset}\n{warning}")


@test
def log_file(test):
    log = {"NEBULA_LOG": f"debug:{test.scratch}/%e.%n.log"}
    for variables in ({"NEBULA_BUDGET_SOFT": "24M"}, {"NEBULA_PURGE_KIND": "free", "NEBULA_PURGE": "delay:100ms"}):
        test.run([test.program("pages"), "purge"], {**log, **variables}).ended(0).quiet()
    has_lines(test, log_lines(test, "pages.1.log"), ("info", "serves pages"), ("warning", "committed memory is above"), ("debug", "growth: "),
              ("debug", r"purge: the system was advised of [\d,]+ idle bytes \(free\)"),
              ("debug", r"purge: [\d,]+ bytes given back \(soft limit\)"), ("debug", r"reclaim: own pools [\d,]+ times more"))
    # Limits, and refusals after the first.
    test.run([test.program("budget")], {**log, "NEBULA_BUDGET": "64M"}).ended(0).quiet()
    has_lines(test, log_lines(test, "budget.1.log"), ("info", "NEBULA_BUDGET is reached: "), ("warning", "NEBULA_BUDGET leaves no room for"),
              ("warning", "  live: "), ("info", "NEBULA_BUDGET refuses a request of "))
    # A child has a file of its own, and what is asked for a thread is told.
    variables = {**log, "NEBULA_BUDGET_THREAD": "main:8M", "NEBULA_BUDGET_ACTION": "warn"}
    (test.scratch / "pages.1.log").unlink()
    test.run([test.program("pages"), "locked", "20"], variables).ended(0).quiet()
    parent, child = (log_lines(test, f"pages.{which}.log") for which in (1, 2))
    has_lines(test, parent, ("info", r"thread pages \(\d+\) has an account with a limit of 8,388,608 bytes"), ("info", "NEBULA_BUDGET_THREAD pages .* is reached"))
    has_lines(test, child, ("info", r"a fork made process \d+"))
    test.expect(len({line[0] for line in parent}) == 1 == len({line[0] for line in child} - {parent[0][0]}), f"{parent}\n{child}")


@test
def log_of_the_dying(test):
    """An error is in the file and on standard error; a file that cannot be had is said, and standard error told."""
    log = {"NEBULA_LOG": f"info:{test.scratch}/log"}
    outcome = test.run([test.program("greedy_threads"), 9, 100], {**log, "NEBULA_BUDGET": "16M", "NEBULA_BUDGET_ACTION": "abort"},
                       before=limit(resource.RLIMIT_CORE, 0)).ended(-signal.SIGABRT)
    outcome.said(r"\Anebula: NEBULA_BUDGET is exhausted: .*; aborting\nnebula:   live: ")
    checked(outcome, behind_the_words(outcome.errors))
    has_lines(test, log_lines(test, "log"), ("error", "NEBULA_BUDGET is exhausted: "), ("error", "  live: "), ("info", "NEBULA_BUDGET is reached"))
    test.run([test.program("basics"), "100"], {"NEBULA_LOG": f"info:{test.scratch}/none/log"}).ended(0).said(
        r"\Anebula: NEBULA_LOG: nothing can be added to .*/none/log; standard error is told\nnebula: .* serves basics, ")
    test.run([test.program("basics"), "100"], {"NEBULA_LOG": "loud"}).ended(0).said("NEBULA_LOG=loud is not understood; accepted: error, warning")


@test
def log_descriptor_taken(test):
    """A program that closes the log's descriptor and opens a file there finds nothing of ours in it."""
    data = test.scratch / "data"
    for how in ("closed", "replace"):
        test.run([test.program("closed_descriptors"), data, how], {"NEBULA_ON_MISUSE": "warn", "NEBULA_LOG": f"debug:{test.scratch}/log"},
                 before=(lambda: os.closerange(0, 3)) if how == "closed" else None, stdin=None, stdout=None, stderr=None).ended(0)
        test.expect(data.read_bytes() == b"the user's data\n", f"the data file was harmed: {data.read_bytes()!r}")
        has_lines(test, log_lines(test, "log"), ("warning", "double free of "))
        data.unlink()


@test
def secure_mode(test):
    """AT_SECURE: a report, a limit, a malformed limit and a request for help are all ignored."""
    if os.geteuid() != 0:
        raise Skip("needs to make a set-user-ID program")
    program = shutil.copy(test.program("secure_mode"), test.scratch / "secure_mode")
    os.chown(program, 0, 0)
    os.chmod(program, 0o4755)
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        raise Skip(f"{test.scratch} is mounted nosuid")
    report = test.scratch / "report"
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program]
    for variables in ({"NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(report), "NEBULA_HELP": "1", "NEBULA_BUDGET": "16M"},
                      {"NEBULA_BUDGET": "abc"}, {"NEBULA_BUDGTE": "1"}, {"NEBULA_STATS": "1"}):
        # ld.so drops LD_PRELOAD here; the program is linked with the library.
        test.run(as_nobody, variables, preload="").ended(0).printed("finished\n").quiet()
        test.expect(not report.exists(), "a set-user-ID program wrote a file that the environment named")


# What is touched.


def own_faults(test, program, variables):
    """Minor page faults of a run of a program, the fewest of five."""
    fewest = None
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        test.run([test.program(program)], variables).ended(0)
        faults = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before
        fewest = faults if fewest is None else min(fewest, faults)
    return fewest


@test
def fork_faults(test):
    """A fork writes hardly any page of ours: 12 more than without us in the parent and 17 to 19 in the child, once; 5 and 2 now."""
    without, within = ([int(word) for word in test.run([test.program("fork_faults")], preload=preload).ended(0).output.split()]
                       for preload in ("", None))
    parent, child = (ours - theirs for ours, theirs in zip(within, without))
    test.expect(parent <= 7 and child <= 7, f"page faults of a fork: {within}, without us {without}")


@test
def report_faults(test):
    """A report touches what the program did: 30 pages in one that does next to nothing, once; 15 now."""
    report = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": "/dev/null"}
    more = own_faults(test, "prints_main", report) - own_faults(test, "prints_main", {})
    test.expect(0 < more <= 20, f"a report touches {more} pages")


# Threads, fork, exec, signals.

@test
def thread_storm(test):
    """Where nothing is purged each size keeps the slabs that fit it. Else up to 4 MiB stay free, of what others had before."""
    test.run([test.program("thread_storm"), 1], {"NEBULA_PURGE": "never"}).ended(0).quiet()
    test.run([test.program("thread_storm"), 5]).ended(0).quiet()
    test.run([test.program("thread_storm"), 5], {"NEBULA_PURGE": "delay:50ms"}).ended(0).quiet()


plain("thread_keys")


def heaps_of(test, program):
    """How many thread heaps the report of a program that ends well counts."""
    outcome = test.run([test.program(program)], {"NEBULA_STATS": "1"}).ended(0)
    found = re.search(r"^threads .* (\d+) heaps;", outcome.errors, re.MULTILINE)
    if not found:
        outcome.fail("there is no report")
    return int(found[1])


@test
def late_first_use(test):
    heaps = heaps_of(test, "late_first_use")
    test.expect(heaps <= 3, f"{heaps} thread heaps for one thread at a time")


@test
def no_room_for_heaps(test):
    heaps = heaps_of(test, "no_room_for_heaps")
    test.expect(2 <= heaps <= 3, f"{heaps} thread heaps for two threads at a time")


plain("fork_storm")
plain("fork_concurrent")


@test
def fork_beside_accounts(test):
    """Threads with accounts of their own, with blocks, or with neither, end while others fork: the child finds no lock held."""
    for variables in ({"NEBULA_BUDGET_THREAD": "*:64M"}, {"NEBULA_ROUTE": "bump"}, {}):
        test.run([test.program("fork_beside_ends")], variables).ended(0).quiet()


@test
def fork_kept_pools(test):
    """What threads that are gone leave in pools serves the next ones, also in a child, and none of it is there any more in a report."""
    outcome = test.run([test.program("fork_kept_pools")],
                       {"NEBULA_NUMA": "off", "NEBULA_PURGE": "never", "NEBULA_STATS": "1", "NEBULA_STATS_FILE": f"{test.scratch}/%p"}).ended(0).quiet()
    reports = [path.read_text() for path in test.scratch.iterdir()]
    test.expect(len(reports) == 21, f"{len(reports)} reports of a program and twenty children")
    for text in reports:
        checked(outcome, text)
        pools, started, refills = (int(re.search(line, text, re.MULTILINE)[1].replace(",", ""))
                                   for line in (r"^ +in pools +([\d,]+)$", r"^threads +([\d,]+) started", r"([\d,]+) refills"))
        test.expect(pools == 0 and started >= 129 and refills < started * 6, f"{refills} refills for {started} threads, {pools} bytes in pools")


plain("fork_in_handler")
plain("fork_in_handler_growing")
plain("fork_handlers")


@test
def auto_routes(test):
    """Classes move in the middle of everything, in forks too; all forms of the report say the same of it."""
    forms = {"NEBULA_STATS": "text,json,prometheus,html", "NEBULA_STATS_FILE": str(test.scratch / "auto")}
    # Without a purge: what sparse slabs hold free goes back otherwise, and they have no reason to move.
    outcome = test.run([test.program("auto_routes")], {"NEBULA_ROUTE": "auto", "NEBULA_PURGE": "never", **forms}).ended(0).quiet()
    found = checked(outcome, (test.scratch / "auto.txt").read_text())
    moves = [(move["size"], move["from"], move["to"], move["reason"]) for move in found.auto_routes["shown"]]
    for wanted in ((10240, "pool", "bump", "tighter in blocks"), (10240, "bump", "pool", "allocated often"),
                   (24576, "pool", "node", "sparse slabs")):
        test.expect(wanted in moves, f"{wanted} is not among {found.auto_routes}")
    test.expect(found.rows and found.row("in blocks").allocations > 1000, f"in blocks: {found.row('in blocks')}")


@test
def handler_allocates(test):
    """No deadlock; a slot that went out twice is a misuse to be told, not more."""
    test.run([test.program("handler_allocates")], {"NEBULA_ON_MISUSE": "warn"}).ended(0)


def handler_at_each_instruction(caller, variables, calls):
    """A handler that gives everything back, at each instruction of a call: nothing goes out twice, and the report adds up."""

    def run(test):
        for call in calls:
            outcome = test.run([test.program("handler_at_each_instruction"), caller, call],
                               {"NEBULA_STATS": "1", "NEBULA_PROFILE_FILE": str(test.scratch / "profile"), **variables})
            if outcome.status == 77:
                raise Skip("the processor does not stop after each instruction")
            checked(outcome.ended(0), outcome.errors)
            print(f"{call}: {outcome.output.strip()} instructions")

    return run


SOME_CALLS = ("malloc", "realloc", "free")
ALL_CALLS = (*SOME_CALLS, "calloc", "malloc_large", "free_large")
for caller, more, variables in (
    ("here", "", {}),
    ("thread", "", {}),
    ("child", "", {}),
    ("thread", "_profiled", {"NEBULA_PROFILE": "64K"}),
    ("thread", "_limited", {"NEBULA_BUDGET_THREAD": "*:64M", "NEBULA_BUDGET_MODULE": "handler_at_each_instruction:64M"}),
):
    TESTS[f"handler_at_each_instruction_{caller}{more}"] = handler_at_each_instruction(caller, variables, SOME_CALLS if more else ALL_CALLS)


@test
def many_threads(test):
    test.run([test.program("many_threads")]).ended(0).quiet()


@test
def fork_handlers_early(test):
    """A library later in LD_PRELOAD starts earlier, so its handlers were registered first, unless ours see to that."""
    preload = f"{test.library}:{test.program('libfork_handlers_early.so')}"
    test.run([test.program("fork_handlers")], preload=preload).ended(0).quiet()


@test
def early_allocations(test):
    """What was allocated before the limits were read is charged, so that its free leaves the account with what there is."""
    for preload in ("{ours}:{early}", "{early}:{ours}"):
        outcome = test.run([test.program("early")], {"NEBULA_BUDGET_SIZE": "1-1024:64M,1025-:64M", "NEBULA_STATS": "1"},
                           preload=preload.format(ours=test.library, early=test.program("libearly_allocations.so"))).ended(0)
        accounts = {row["first"]: row for row in checked(outcome, outcome.errors).accounts}
        test.expect(set(accounts) == {1, 1025}, f"{accounts}")
        test.expect(3000 * 480 < accounts[1]["peak"] < 2 << 20 and accounts[1]["charged"] < 1 << 18, f"{accounts}")
        test.expect(400000 < accounts[1025]["peak"] < 2 << 20 and accounts[1025]["charged"] < 1 << 18, f"{accounts}")
        test.expect(not any(row["refusals"] for row in accounts.values()), f"{accounts}")


@test
def hooks(test):
    for preload in ("{ours}:{hooks}", "{hooks}:{ours}"):
        test.run([test.program("hooked")],
                 preload=preload.format(ours=test.library, hooks=test.program("libhooks.so"))).ended(0).quiet()


@test
def spawn(test):
    test.run([test.program("spawn"), test.program("spawn")]).ended(0).quiet()


@test
def exit_in_handler(test):
    test.run([test.program("exit_in_handler")]).ended(0).quiet()
    outcome = test.run([test.program("exit_in_handler")],
                       {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": f"{test.scratch}/%p"}).ended(0).quiet()
    reports = list(test.scratch.iterdir())
    test.expect(len(reports) == 61, f"{len(reports)} reports of 61 processes")
    for path in reports:
        checked(outcome, path.read_text())


# What happens at the end: how the process ends, whether a report is due, whether destructors run.
def ending(how, status, reports, output):
    def run(test):
        outcome = test.run([test.program("exit_late"), how], {"NEBULA_STATS": "1"}).ended(status).printed(output)
        found = len(re.findall(ANY_REPORT, outcome.errors, re.MULTILINE))
        if found != reports or (reports == 0 and outcome.errors):
            outcome.fail(f"expected {reports} reports, found {found}")
        test.run([test.program("exit_late"), how]).ended(status).printed(output).quiet()

    return run


TESTS["ending_exit"] = ending("exit", 7, 1, "destructor\n")
TESTS["ending_return"] = ending("return", 7, 1, "destructor\n")
TESTS["ending_quick_exit"] = ending("quick_exit", 7, 1, "")
TESTS["ending_underscore_exit"] = ending("_exit", 7, 0, "")
TESTS["ending_abort"] = ending("abort", -signal.SIGABRT, 0, "")


# Plugins.


@test
def plugin(test):
    test.run([test.program("plugin"), test.program("libdeep_binding_plugin.so")]).ended(0).quiet()


@test
def deep_binding_theirs(test):
    command = [test.program("deep_binding"), test.program("libdeep_binding_plugin.so"), "theirs"]
    test.run(command).ended(0).printed("finished\n").quiet()


@test
def deep_binding_ours(test):
    """A limit, not a hope: such a plugin's free is libc's alone, and libc ends the process at once, and loudly."""
    command = [test.program("deep_binding"), test.program("libdeep_binding_plugin.so"), "ours"]
    test.run(command).ended(-signal.SIGABRT).printed("").said(r"^(free|munmap_chunk)\(\): invalid")


# Variables.


@test
def help_lists_variables(test):
    """Every variable with what README.md's table says of it, and nothing else."""
    outcome = test.run([test.program("prints_main")], {"NEBULA_HELP": "1"}).ended(0).printed("main\n")
    readme = Path(__file__).resolve().parents[2] / "README.md"
    table = re.findall(r"^\| `(NEBULA_\w+)` \| (.+) \| (.+) \| (.+) \|$", readme.read_text(), re.MULTILINE)
    test.expect(len(table) >= 16, f"README.md's table has {len(table)} variables")
    expected = "Nebula's environment variables:\n" + "".join(
        f"  {name:<24}{meaning}\n{'':24}accepted: {accepted}   default: {default}\n"
        for name, accepted, default, meaning in table)
    if outcome.errors != expected:
        outcome.fail(f"expected {expected!r}")


def bad_budget(value):
    def run(test):
        outcome = test.run([test.program("prints_main")], {"NEBULA_BUDGET": value}).ended(BAD_LIMIT_STATUS).printed("")
        if value.startswith("1%-"):
            outcome.said(r"^nebula: NEBULA_BUDGET leaves nothing of the [\d,]+ bytes that the ")
        else:
            outcome.said(rf"^nebula: NEBULA_BUDGET={re.escape(value)} .*accepted: .*\b64M\b")
        if outcome.errors.count("\n") != 1:
            outcome.fail("expected one line on stderr")

        lenient = {"NEBULA_BUDGET": value, "NEBULA_ABORT_CONF": "0"}
        outcome = test.run([test.program("prints_main")], lenient).ended(0).printed("main\n")
        outcome.said(r"^nebula: NEBULA_BUDGET leaves nothing" if value.startswith("1%-")
                     else rf"^nebula: NEBULA_BUDGET={re.escape(value)} ")

    return run


for label, value in {
    "word": "abc",
    "negative": "-1",
    "plus": "+1M",
    "too_large": "99999999999999999999G",
    "too_large_after_suffix": "99999999999T",
    "wrong_suffix": "64X",
    "double_suffix": "64MM",
    "trailing": "64M ",
    "leading": " 64M",
    "hexadecimal": "0x4000000",
    "zero": "0",
    "empty": "",
    "percent_of_nothing": "0%",
    "percent_above_all": "101%",
    "percent_less_nothing": "50%-",
    "percent_that_leaves_nothing": "1%-9999G",
    "point_only": ".",
    "two_points": "1.5.5G",
}.items():
    TESTS[f"bad_budget_{label}"] = bad_budget(value)


@test
def other_bad_limits(test):
    """Whatever limits and cannot be understood keeps the program from starting."""
    for name, value in (("NEBULA_BUDGET_SOFT", "2x"), ("NEBULA_BUDGET_TREE", "1GG"), ("NEBULA_BUDGET_SIZE", "1-2"),
                        ("NEBULA_BUDGET_SIZE", "1-10:1M,5-20:1M")):
        outcome = test.run([test.program("prints_main")], {name: value}).ended(BAD_LIMIT_STATUS).printed("")
        outcome.said(rf"^nebula: {name}={re.escape(value)} .*accepted: ")


# What happens at the limit.


@test
def first_refusal_explains(test):
    """Who holds the memory, said once, whatever else the program does."""
    outcome = test.run(["/usr/bin/python3", "-c", "kept = []\ntry:\n  while True: kept.append(bytearray(5000))\n"
                        "except MemoryError: kept.clear()"],
                       {"NEBULA_BUDGET": "64M"}).ended(0)
    why = r"nebula: NEBULA_BUDGET leaves no room for [\d,]+ bytes: [\d,]+ of 67,108,864 are taken, and nothing is left to reclaim"
    live = r"nebula:   live: [\d,]+ bytes in [\d,]+ of size 5,120(; [\d,]+ bytes in [\d,]+ (large objects|of size [\d,]+)){4}"
    free = r"nebula:   free: [\d,]+ bytes in pools, [\d,]+ in depots, [\d,]+ in dirty spans"
    threads = r"nebula:   threads, by small objects allocated and not freed: python3 \(\d+\) [\d,]+ bytes"
    if not re.fullmatch("\n".join((why, live, free, threads, "")), outcome.errors):
        outcome.fail("expected four lines, once")


@test
def refusal_in_a_child_names_its_thread(test):
    """A child of fork has another number than its parent, under which its thread is found."""
    outcome = test.run(["/usr/bin/python3", "-c", "import os\nchild = os.fork()\nif child == 0:\n  kept = []\n"
                        "  try:\n    while True: kept.append(bytearray(5000))\n  except MemoryError: os._exit(0)\n"
                        "os.waitpid(child, 0)"], {"NEBULA_BUDGET": "64M"}).ended(0)
    outcome.said(r"^nebula:   threads, by small objects allocated and not freed: python3 \(\d+\) [\d,]+ bytes$")


@test
def budget_kill(test):
    """The report, and then no handler of the program runs."""
    outcome = test.run([test.program("greedy_threads"), 4, 100000], {"NEBULA_BUDGET": "16M", "NEBULA_BUDGET_ACTION": "kill"},
                       before=limit(resource.RLIMIT_CORE, 0)).ended(-signal.SIGKILL)
    outcome.said(r"\Anebula: NEBULA_BUDGET is exhausted: .*; killing\nnebula:   live: ")
    checked(outcome, behind_the_words(outcome.errors))


@test
def budget_warn_goes_on(test):
    events = test.scratch / "events.jsonl"
    found = test.scratch / "report.txt"
    outcome = test.run(["/usr/bin/python3", "-c", "kept = [bytearray(1 << 20) for _ in range(64)]; print(len(kept))"],
                       {"NEBULA_BUDGET": "32M", "NEBULA_BUDGET_ACTION": "warn", "NEBULA_BUDGET_EVENTS": str(events),
                        "NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(found)}).ended(0).printed("64\n")
    outcome.said(r"^nebula: NEBULA_BUDGET is exceeded: [\d,]+ bytes, the limit is 33,554,432; ")
    numbers = checked(outcome, found.read_text())
    if numbers.actions["over_limit"] < 30 or numbers.budget["refusals"] != 0:
        outcome.fail(f"other counts than expected: {numbers.actions}")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    if len(lines) != 1 or (lines[0]["account"], lines[0]["event"]) != ("process", "hard limit"):
        outcome.fail(f"other events than one crossing: {lines}")
    if lines[0]["charged_bytes"] <= lines[0]["limit_bytes"] or lines[0]["largest"][0]["size"] != "large":
        outcome.fail(f"an event that does not fit: {lines[0]}")


@test
def budget_signal(test):
    """Sent on the way over soft and hard limit to a program that handles it, and to none that does not."""
    script = ("import signal, sys\nheard = []\n"
              "if sys.argv[1] == 'handles': signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))\n"
              "kept = []\ntry:\n  while True: kept.append(bytearray(1 << 20))\nexcept MemoryError: pass\n"
              "kept.clear()\nprint(len(heard))\n")
    variables = {"NEBULA_BUDGET": "64M", "NEBULA_BUDGET_SOFT": "32M", "NEBULA_BUDGET_SIGNAL": "USR1"}
    test.run(["/usr/bin/python3", "-c", script, "handles"], variables).ended(0).printed("2\n")
    test.run(["/usr/bin/python3", "-c", script, "ignores"], variables).ended(0).printed("0\n")


@test
def budget_wait(test):
    """A request that waits is refused after its time, no sooner."""
    started = time.monotonic()
    test.run(["/usr/bin/python3", "-c", "kept = bytearray(30 << 20)\ntry: more = bytearray(20 << 20)\n"
              "except MemoryError: print('refused')"],
             {"NEBULA_BUDGET": "40M", "NEBULA_BUDGET_ACTION": "wait:1s"}).ended(0).printed("refused\n")
    test.expect(time.monotonic() - started >= 1, "did not wait for a second")


@contextlib.contextmanager
def control_group(name, limit):
    """A group below this process's own with so much memory; its folder, and the file that changes the limit."""
    for version, mount, file in (("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("", "/sys/fs/cgroup", "memory.max")):
        own = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()
               if line.split(":")[1] == version]
        folder = Path(f"{mount}{own[0]}/{name}") if own else None
        if folder is None or not folder.parent.is_dir():
            continue
        try:
            folder.mkdir()
            try:
                (folder / file).write_text(str(limit))
                yield folder, folder / file
            finally:
                folder.rmdir()
            return
        except OSError:
            continue
    raise Skip("no control group of memory can be made here")


@test
def control_group_limits(test):
    """A real group: its limit is what `auto` takes a share of, a changed one takes effect, and being nearly full is pressure."""
    mib = 1 << 20
    with control_group(f"nebula-test-{os.getpid()}", 400 * mib) as (folder, limit_file):
        def enter():
            (folder / "cgroup.procs").write_text(str(os.getpid()))

        found = test.scratch / "report"
        variables = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(found), "NEBULA_BUDGET": "50%"}
        outcome = test.run([test.program("prints_main")], variables, before=enter).ended(0)
        if checked(outcome, found.read_text()).budget["limit"] != 200 * mib:
            outcome.fail("the limit is not half of what the group allows")

        # Twice as much once it is needed, and the second look at the limit finds it.
        script = ("import sys\nkept = []\n"
                  "try:\n  while True: kept.append(bytearray(1 << 20))\nexcept MemoryError: print(len(kept) < 200)\n"
                  f"open({str(limit_file)!r}, 'w').write(str(800 << 20))\n"
                  "import time; time.sleep(10.5)\n"
                  "try: kept.append(bytearray(1 << 20))\nexcept MemoryError: pass\n"
                  "for _ in range(100): kept.append(bytearray(1 << 20))\nprint(len(kept) > 280)\n")
        outcome = test.run(["/usr/bin/python3", "-c", script], variables, before=enter).ended(0).printed("True\nTrue\n")
        if checked(outcome, found.read_text()).budget["limit"] != 400 * mib:
            outcome.fail("the changed limit did not take effect")

        limit_file.write_text(str(400 * mib))
        script = ("kept = [bytearray(1 << 20) for _ in range(356)]\n"
                  "import time\nend = time.monotonic() + 1\n"
                  "while time.monotonic() < end: kept[0] = bytearray(1 << 20); text = [str(i) for i in range(30000)]\n")
        variables = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(found), "NEBULA_PRESSURE": "cgroup"}
        outcome = test.run(["/usr/bin/python3", "-c", script], variables, before=enter).ended(0)
        pressure = checked(outcome, found.read_text()).pressure
        if not pressure or pressure["moderate"] + pressure["severe"] == 0:
            outcome.fail(f"a group that is nearly full was no pressure: {pressure}")
        test.run([test.program("../header/header_monitor"), "pressure"], {"NEBULA_PRESSURE": "cgroup"}, before=enter).ended(0)


@test
def good_budgets(test):
    """The accepted forms, and that each is the limit it says: what it leaves unsaid is refused by the program `budget`."""
    for value in ("4194304", "65536K", "512M", "2G", "1.5GiB", "64m", "64MB", "64MiB", "0.0625T", "1.5g"):
        test.run([test.program("prints_main")], {"NEBULA_BUDGET": value}).ended(0).printed("main\n").quiet()
    for value in ("67108864", "65536K", "65536kb", "64M", "64MiB", "0.0625G", "0.0625GiB"):
        test.run([test.program("budget")], {"NEBULA_BUDGET": value}).ended(0)
    for value in ("50%", "100%-256M", "auto"):
        test.run([test.program("prints_main")], {"NEBULA_BUDGET": value}).ended(0).printed("main\n").quiet()


@test
def bad_setting(test):
    """A malformed value that limits nothing is told, and the default holds."""
    for name, value in (("NEBULA_STATS", "yes"), ("NEBULA_ON_MISUSE", "ignore"), ("NEBULA_STATS", "")):
        outcome = test.run([test.program("prints_main")], {name: value}).ended(0).printed("main\n")
        outcome.said(rf"^nebula: {name}={value} ")
        if outcome.errors.count("\n") != 1:
            outcome.fail("expected one line on stderr")


@test
def unknown_variable(test):
    for wrong, right in (("NEBULA_BUDGTE", "NEBULA_BUDGET"), ("NEBULA_STAT", "NEBULA_STATS"),
                         ("NEBULA_STATSFILE", "NEBULA_STATS_FILE"), ("NEBULA_ONMISUSE", "NEBULA_ON_MISUSE")):
        outcome = test.run([test.program("prints_main")], {wrong: "1"}).ended(0).printed("main\n")
        outcome.said(rf"^nebula: {wrong} .*\b{right}\b")


# The report's files.


def report_pids(path, outcome):
    """The processes whose reports a file holds, in order."""
    if not path.exists():
        outcome.fail(f"no file {path}")
    return [int(re.search(r"\bpid (\d+)\b", line).group(1)) for line in
            re.findall(ANY_REPORT, path.read_text(), re.MULTILINE)]


@test
def stats_file_names(test):
    outcome = test.run([test.program("forked_report")],
                       {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": f"{test.scratch}/%e.%p"}).ended(0).quiet()
    parent, child = map(int, outcome.output.split())
    for pid in (parent, child):
        found = report_pids(test.scratch / f"forked_report.{pid}", outcome)
        if found != [pid]:
            outcome.fail(f"forked_report.{pid} holds the reports of {found}")
    test.expect(len(list(test.scratch.iterdir())) == 2, f"more files than two: {list(test.scratch.iterdir())}")


@test
def stats_of_forked_child(test):
    """On stderr: the parent's report once, and no process tells another's story."""
    outcome = test.run([test.program("forked_report")], {"NEBULA_STATS": "1"}).ended(0)
    parent, child = map(int, outcome.output.split())
    pids = [int(pid) for pid in re.findall(r"^nebula.*\bpid (\d+)\b", outcome.errors, re.MULTILINE)]
    if pids.count(parent) != 1 or pids.count(child) > 1 or set(pids) - {parent, child}:
        outcome.fail(f"expected one report of {parent} and at most one of {child}, found {pids}")


@test
def report_length(test):
    """At most 60 lines, however much a program does."""
    for command in (["/bin/true"], [test.program("seccomp"), "report"], ["/usr/bin/python3", "-c", "import json, ssl"]):
        outcome = test.run(command, {"NEBULA_STATS": "1", "PYTHONMALLOC": "malloc"}).ended(0)
        checked(outcome, outcome.errors)
        if outcome.errors.count("\n") > 60:
            outcome.fail(f"{outcome.errors.count(chr(10))} lines")


@test
def stats_file_mode(test):
    """The report of a path is a file of its own; one that cannot be written is told, and the program's status stays."""
    report = test.scratch / "report"
    test.run([test.program("prints_main")], {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(report)}).ended(0).quiet()
    test.expect(stat.S_ISREG(report.stat().st_mode) and report.stat().st_size > 0, "no report in the file")
    outcome = test.run([test.program("prints_main")],
                       {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": f"{test.scratch}/no such folder/report"}).ended(0)
    outcome.printed("main\n").said(r"^nebula: .*no such folder")


@test
def stats_file_sequence(test):
    """%n is the number of the report in its process: malloc_stats has written one before."""
    variables = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": f"{test.scratch}/%e.%n"}
    test.run([test.program("malloc_info")], variables).ended(0)
    test.run([test.program("prints_main")], variables).ended(0)
    found = sorted(path.name for path in test.scratch.iterdir())
    test.expect(found == ["malloc_info.2", "prints_main.1"], f"reports in {found}")


@test
def stats_file_pipe(test):
    """A pipe would hold the exit for ever, or break: refused, told, and the program's status stays."""
    pipe = test.scratch / "pipe"
    os.mkfifo(pipe)
    variables = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(pipe)}
    for reader in (None, os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)):
        outcome = test.run([test.program("prints_main")], variables, timeout=20).ended(0).printed("main\n")
        outcome.said(r"^nebula: .*/pipe: neither a file nor a character device$")
        if reader is not None:
            test.expect(os.read(reader, 1) == b"", "something was written into the pipe")
            os.close(reader)
    test.run([test.program("prints_main")], {**variables, "NEBULA_STATS_FILE": "/dev/null"}).ended(0).quiet()


@test
def broken_pipe(test):
    """Nobody reads standard error: neither warnings nor the report end the program."""
    reader, writer = os.pipe()
    os.close(reader)
    test.run([test.program("broken_pipe")], {"NEBULA_STATS": "1", "NEBULA_ON_MISUSE": "warn"}, stderr=writer).ended(3)
    os.close(writer)


if __name__ == "__main__":
    harness.main(TESTS)
