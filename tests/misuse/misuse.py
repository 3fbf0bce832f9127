#!/usr/bin/python3
"""One test per heap bug: the message, the end of the process, and the count in the report.

Bugs on pages of the heap end the process with SIGABRT and one line (the default), or with NEBULA_ON_MISUSE=warn are
told in that one line, counted, and left without effect. A foreign pointer is never ours to judge: ignored and counted.
"""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import harness  # noqa: E402

# The words of the messages. {at}: where the message places the pointer; {call}: the function that was called.
ADDRESS = r"0x[0-9a-f]+"
DOUBLE_FREE = rf"^nebula: double free of {ADDRESS}: {{at}}, free already, in {{call}}\(\)$"
INTERIOR = rf"^nebula: free of {ADDRESS}, an interior pointer: {{at}}, in {{call}}\(\)$"
NO_OBJECT_OF = rf"^nebula: free of {ADDRESS}, which is no object of {{at}}, in {{call}}\(\)$"
NO_HANDLE = rf"^nebula: {ADDRESS} is no {{at}}, or one that was destroyed, in {{call}}\(\)$"
NO_OBJECT = rf"^nebula: free of {ADDRESS}, which is no object: {{at}}, in {{call}}\(\)$"

# The line of the report that counts, after a program with one bug or some foreign pointers.
COUNTED = r"^misuse +{double} double frees, {invalid} invalid frees, {foreign} foreign pointers, {libc} of them libc's$"


def slot(size):
    return rf"slot [0-9,]+ of a {size}-byte slab"


@dataclass
class OurPage:
    """A bug on a page of the heap."""

    program: str
    pattern: str
    at: str
    call: str = "free"
    argument: str = ""

    def __call__(self, test):
        command = [test.program(self.program)] + ([self.argument] if self.argument else [])
        message = self.pattern.format(at=self.at, call=self.call)
        for variables in ({}, {"NEBULA_ON_MISUSE": "abort"}):
            outcome = test.run(command, variables).ended(-signal.SIGABRT).printed("").said(message)
            if outcome.errors.count("\n") != 1:
                outcome.fail("expected one line on stderr")

        outcome = test.run(command, {"NEBULA_ON_MISUSE": "warn"}).ended(0).printed("finished\n").said(message)
        if outcome.errors.count("\n") != 1:
            outcome.fail("expected one line on stderr")
        is_double = int(self.pattern == DOUBLE_FREE)
        counted(test, command, {"NEBULA_ON_MISUSE": "warn"}, double=is_double, invalid=1 - is_double, foreign=0, libc=0)


@dataclass
class Foreign:
    """A pointer that is on no page of the heap; count: how many of them the program uses, libc: how many of these go to libc."""

    program: str
    count: int
    libc: int = 0

    def __call__(self, test):
        command = [test.program(self.program)]
        for variables in ({}, {"NEBULA_ON_MISUSE": "abort"}, {"NEBULA_ON_MISUSE": "warn"}):
            test.run(command, variables).ended(0).printed("finished\n").quiet()
            counted(test, command, variables, double=0, invalid=0, foreign=self.count, libc=self.libc)


def counted(test, command, variables, **counts):
    report = test.scratch / "report"
    outcome = test.run(command, {**variables, "NEBULA_STATS": "1", "NEBULA_STATS_FILE": str(report)}).ended(0)
    outcome.said(COUNTED.format(**counts), report.read_text())
    report.unlink()


def double_free_at_exit(test):
    """What still lies in the pools of the thread that exits is looked at before the report counts it."""
    command = [test.program("double_free_at_exit")]
    message = DOUBLE_FREE.format(at=slot(64), call="free")
    test.run(command, {"NEBULA_STATS": "1"}).ended(-signal.SIGABRT).printed("finished\n").said(message)
    warn = {"NEBULA_ON_MISUSE": "warn"}
    test.run(command, {**warn, "NEBULA_STATS": "1"}).ended(0).printed("finished\n").said(message)
    counted(test, command, warn, double=1, invalid=0, foreign=0, libc=0)
    test.run(command).ended(0).printed("finished\n").quiet()


def in_block(program, pattern, at, double, argument=""):
    """The same bugs where objects come the bump route: all are found at once."""
    def run(test):
        command = [test.program(program)] + ([argument] if argument else [])
        message = pattern.format(at=at, call="free")
        route = {"NEBULA_ROUTE": "bump"}
        outcome = test.run(command, route).ended(-signal.SIGABRT).printed("").said(message)
        if outcome.errors.count("\n") != 1:
            outcome.fail("expected one line on stderr")
        warn = {**route, "NEBULA_ON_MISUSE": "warn"}
        test.run(command, warn).ended(0).printed("finished\n").said(message)
        counted(test, command, warn, double=double, invalid=1 - double, foreign=0, libc=0)
    return run


def own(which, pattern, at, call):
    """Bugs with what nebula.h offers."""
    return {f"own_{which}": OurPage("own_memory", pattern, at, call=call, argument=which)}


def freed(which, bytes_in):
    return own(which, INTERIOR, rf"{bytes_in} bytes into a large object of {{block}} bytes".format(block="[0-9,]+"), "free")


MEBIBYTE = "a large object of 1,048,576 bytes"

TESTS = {
    "double_free_immediate": OurPage("double_free_immediate", DOUBLE_FREE, slot(64)),
    "double_free_same_flush": OurPage("double_free_same_flush", DOUBLE_FREE, slot(64)),
    "double_free_later_flush": OurPage("double_free_later_flush", DOUBLE_FREE, slot(64)),
    "double_free_two_threads": OurPage("double_free_two_threads", DOUBLE_FREE, slot(64)),
    "double_free_depot": OurPage("double_free_depot", DOUBLE_FREE, slot(64), call="\\w+"),
    "double_free_at_exit": double_free_at_exit,
    "double_free_large": OurPage("double_free_large", NO_OBJECT, "free memory of the heap", argument="1048576"),
    "double_free_just_large": OurPage("double_free_large", NO_OBJECT, "free memory of the heap", argument="32769"),
    "double_delete": OurPage("double_delete", DOUBLE_FREE, slot(64), call="operator delete"),
    "interior_small_8": OurPage("interior_small", INTERIOR, f"8 bytes into {slot(64)}", argument="8"),
    "interior_small_16": OurPage("interior_small", INTERIOR, f"16 bytes into {slot(64)}", argument="16"),
    "interior_small_thread": OurPage("interior_small_thread", INTERIOR, f"8 bytes into {slot(64)}"),
    "interior_large_page": OurPage("interior_large", INTERIOR, f"4,096 bytes into {MEBIBYTE}", argument="4096"),
    "interior_large_first": OurPage("interior_large", INTERIOR, f"16 bytes into {MEBIBYTE}", argument="16"),
    "interior_large_unit": OurPage("interior_large", INTERIOR, f"196,608 bytes into {MEBIBYTE}", argument="196608"),
    "never_allocated_unit": OurPage("never_allocated_unit", NO_OBJECT, "free memory of the heap"),
    "never_allocated_slot": OurPage("never_allocated_slot", NO_OBJECT, f"{slot(640)}, never allocated"),
    "realloc_interior_large": OurPage("realloc_interior_large", INTERIOR, f"4,096 bytes into {MEBIBYTE}", call="realloc"),
    "realloc_freed_large": OurPage("realloc_freed_large", NO_OBJECT, "free memory of the heap", call="realloc"),
    "usable_size_interior_large": OurPage("usable_size_interior_large", INTERIOR, f"4,096 bytes into {MEBIBYTE}",
                                          call="malloc_usable_size"),
    "bump_double_free": in_block("double_free_same_flush", DOUBLE_FREE, "64 bytes of a bump block", 1),
    "bump_double_free_two_threads": in_block("double_free_two_threads", DOUBLE_FREE, "64 bytes of a bump block", 1),
    "bump_interior_8": in_block("interior_small", INTERIOR, "8 bytes into an object of 64 bytes in a bump block", 0, "8"),
    "bump_interior_16": in_block("interior_small", INTERIOR, "16 bytes into an object of 64 bytes in a bump block", 0, "16"),
    "bump_rewound": in_block("double_free_immediate", NO_OBJECT, "free memory of a bump block", 0),
    "foreign_stack": Foreign("foreign_stack", 2),
    "foreign_static": Foreign("foreign_static", 2),
    "foreign_far": Foreign("foreign_far", 4),
    "foreign_guarded": Foreign("foreign_guarded", 4),
    "foreign_libc": Foreign("foreign_libc", 3 * 7 * 10 * 2 + 10, 3 * 7 * 10 * 2),
    "foreign_pool": Foreign("foreign_pool", 4 * 2 * 6 * 8),
    "foreign_realloc": Foreign("foreign_realloc", 1),
    "foreign_usable_size": Foreign("foreign_usable_size", 1),
}

IN_HEAP, IN_POOL = "an object of {} bytes in this heap", "an object of 112 bytes in this pool"
for bug in (
    freed("free_in_arena", "[0-9]+"), freed("free_in_heap", "[0-9,]+"), freed("free_large_in_heap", "[0-9]+"),
    freed("free_in_pool", "[0-9,]+"), freed("free_in_stack", "[0-9]+"), freed("free_handle", "[0-9]+"),
    own("heap_double", DOUBLE_FREE, "1,008 bytes of this heap", "nebula_heap_free"),
    own("heap_large_double", NO_OBJECT_OF, "this heap", "nebula_heap_free"),
    own("heap_interior", INTERIOR, "8 bytes into " + IN_HEAP.format("1,008"), "nebula_heap_free"),
    own("heap_large_interior", INTERIOR, "70,000 bytes into " + IN_HEAP.format("[0-9,]+"), "nebula_heap_free"),
    own("heap_of_malloc", NO_OBJECT_OF, "this heap", "nebula_heap_free"),
    own("heap_of_other", NO_OBJECT_OF, "this heap", "nebula_heap_free"),
    own("heap_of_stack", NO_OBJECT_OF, "this heap", "nebula_heap_free"),
    own("heap_resize", INTERIOR, "16 bytes into " + IN_HEAP.format("1,008"), "nebula_heap_reallocate"),
    own("heap_usable", INTERIOR, "16 bytes into " + IN_HEAP.format("1,008"), "nebula_heap_usable_size"),
    own("pool_double", DOUBLE_FREE, "112 bytes of this pool", "nebula_pool_free"),
    own("pool_interior", INTERIOR, "16 bytes into " + IN_POOL, "nebula_pool_free"),
    own("pool_of_other", NO_OBJECT_OF, "this pool", "nebula_pool_free"),
    own("pool_of_malloc", NO_OBJECT_OF, "this pool", "nebula_pool_free"),
    own("arena_destroyed", NO_HANDLE, "arena", "nebula_arena_allocate"),
    own("arena_is_heap", NO_HANDLE, "arena", "nebula_arena_allocate"),
    own("heap_destroyed", NO_HANDLE, "heap", "nebula_heap_destroy"),
    own("pool_destroyed", NO_HANDLE, "pool", "nebula_pool_allocate"),
    own("stack_destroyed", NO_HANDLE, "stack", "nebula_stack_allocate"),
):
    TESTS.update(bug)

if __name__ == "__main__":
    harness.main(TESTS)
