#!/usr/bin/python3
"""Several NUMA nodes, for real as far as the kernel can tell: a guest of four nodes, pages asked for one by one with move_pages.

The processors are emulated, so nothing here is about time.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import guest  # noqa: E402
import harness  # noqa: E402
import report as report_of  # noqa: E402
from guest import Command, Machine  # noqa: E402
from harness import Failure  # noqa: E402

PAGE = 4096
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"


class Guest:
    """Commands for one boot, and what became of them."""

    def __init__(self, test, machine):
        self.test = test
        self.machine = machine
        self.commands = []
        self.endings = {}

    def add(self, name, words, variables=None, library=None, seconds=60):
        preload = str(self.test.library) if library is None else library
        self.commands.append(Command(name, words, {"LD_PRELOAD": preload, **(variables or {})}, seconds))

    def places(self, name, *words, prefix=(), **options):
        self.add(name, [*prefix, self.test.program("places"), *words], **options)

    def run(self, seconds, files=()):
        try:
            self.endings = guest.run(self.machine, [self.test.library, self.test.program("places"), JEMALLOC, *files], self.commands,
                                     seconds)
        except guest.GuestFailed as failure:
            raise Failure(str(failure)) from None
        for name, ending in self.endings.items():
            try:
                self.test.keeper.look_at_text(ending.output, name)
            except report_of.Wrong as wrong:
                raise Failure(f"{name}: {wrong}") from None

    def ended(self, name, status=0):
        ending = self.endings[name]
        if ending.status != status:
            raise Failure(f"{name} ended with status {ending.status}, expected {status}; it wrote:\n{ending.output}")
        return ending.output

    def share_on_own_node(self, name, what):
        """Of "what pages N local M"."""
        found = re.search(rf"^{what} pages (\d+) local (\d+)$", self.ended(name), re.MULTILINE)
        if not found or int(found[1]) < 1000:
            raise Failure(f"{name} wrote:\n{self.endings[name].output}")
        return int(found[2]) / int(found[1])

    def pages(self, name, what):
        """The counts of "what pages N nodes A B C D", which are N."""
        found = re.search(rf"^{what} pages (\d+) nodes((?: \d+)+)$", self.ended(name), re.MULTILINE)
        counts = list(map(int, found[2].split())) if found else []
        if sum(counts) < 500 or sum(counts) != int(found[1]):
            raise Failure(f"{name} wrote:\n{self.endings[name].output}")
        return counts

    def shares(self, name, what):
        """Of them all, on each node."""
        counts = self.pages(name, what)
        return [count / sum(counts) for count in counts]

    def expect_shares(self, name, what, least, most):
        """On each node at least and at most so much."""
        shares = self.shares(name, what)
        if not all(low <= share <= high for share, low, high in zip(shares, least, most)):
            raise Failure(f"{name}: {what} objects lie {shares}, expected between {least} and {most}; it wrote:\n"
                          f"{self.endings[name].output}")

    def report(self, name):
        output = self.ended(name)
        return report_of.checked(output[output.index("nebula "):])


def four_nodes(test):
    """Placement page by page: local, exchange between threads, migration, each rule, a full node, limits, the program's policy."""
    vm = Guest(test, Machine())
    for library, name in (("", "glibc"), (JEMALLOC, "jemalloc"), (None, "nebula")):
        variables = {"NEBULA_STATS": "1"} if library is None else None
        vm.places(f"local-{name}", "local", library=library, variables=variables)
        vm.places(f"exchange-{name}", "exchange", library=library, variables=variables)
    vm.places("sampled", "exchange", variables={"NEBULA_STATS": "1", "NEBULA_PROFILE": "64K", "NEBULA_PROFILE_FILE": "/dev/null"})
    vm.places("migrate", "migrate", variables={"NEBULA_STATS": "1"})
    on_first = ("taskset", "1")
    on_second = ("taskset", "2")
    for rule in ("interleave", "interleave:1,3", "preferred:2", "bind:1", "bind:0,3", "local", "large=interleave,small=local",
                 "large=bind:3,small=preferred:0"):
        vm.places(rule, "spread", prefix=on_second, variables={"NEBULA_NUMA": rule, "NEBULA_STATS": "1"})
    vm.places("off", "spread", prefix=on_second, variables={"NEBULA_NUMA": "off", "NEBULA_STATS": "1"})
    vm.places("wrong", "spread", prefix=on_first, variables={"NEBULA_NUMA": "bind:2,7"})
    vm.places("policy", "policy", variables={"NEBULA_STATS": "1"})
    vm.places("policy-and-rule", "policy", variables={"NEBULA_NUMA": "bind:3"})
    vm.places("fill", "fill", "400", variables={"NEBULA_STATS": "1"})
    vm.places("fill-limit", "fill", "60", variables={"NEBULA_STATS": "1", "NEBULA_BUDGET": "80M"})
    vm.places("fill-node-limit", "fill", "100", variables={"NEBULA_STATS": "1", "NEBULA_BUDGET_NODE": "1:40M"})
    vm.places("fill-node-limits", "fill", "60", variables={"NEBULA_STATS": "1", "NEBULA_BUDGET_NODE": "0:20M,1:20M,2:20M,3:20M"})
    vm.places("fill-thread-limit", "fill", "60", variables={"NEBULA_STATS": "1", "NEBULA_BUDGET_NODE": "1:40M", "NEBULA_BUDGET_THREAD": "80M"})
    vm.places("fill-node-bound", "fill", "60", variables={"NEBULA_STATS": "1", "NEBULA_BUDGET_NODE": "1:40M", "NEBULA_NUMA": "bind:1"})
    vm.commands.append(Command("groups", ["sh", "-c", "mount -t cgroup2 none /groups && echo +cpuset > "
                                          "/groups/cgroup.subtree_control && mkdir /groups/two && echo 1-2 > /groups/two/cpuset.mems"]))
    in_group = ("sh", "-c", 'echo $$ > /groups/two/cgroup.procs && exec "$@"', "sh")
    vm.places("cpuset", "spread", prefix=in_group, variables={"NEBULA_NUMA": "interleave", "NEBULA_STATS": "1"})
    vm.places("cpuset-wrong", "spread", prefix=in_group, variables={"NEBULA_NUMA": "preferred:0"})
    # A program that holds memory, and another that looks at its page.
    tool, steady = test.programs.parent.parent / "src/tool/nebula", test.programs.parent / "tool/steady"
    watches = tool.exists()
    if watches:
        vm.commands.append(Command("top", ["sh", "-c", f"sleep 20 | NEBULA_LIVE=1 LD_PRELOAD={test.library} taskset 4 {steady} > /dev/null & "
                                                       f"sleep 10; {tool} top --once $(pidof steady)"]))
    vm.run(400, [tool, steady] if watches else [])

    if watches:
        found = dict(re.findall(r"^  (node \d) +([\d,]+) +[\d,]+ +[\d,]+ +[\d,]+ +[\d,]+ +[\d,]+$", vm.ended("top"), re.MULTILINE))
        committed = {name: report_of.number(size) for name, size in found.items()}
        test.expect(set(committed) == {f"node {node}" for node in range(4)} and committed["node 2"] > 100 << 20 and
                    max(size for name, size in committed.items() if name != "node 2") < 1 << 20, f"{committed} in:\n{vm.ended('top')}")
    for what in ("local", "exchange"):
        shares = {name: vm.share_on_own_node(f"{what}-{name}", what) for name in ("glibc", "jemalloc", "nebula")}
        print(what, ", ".join(f"{name} {share:.2%}" for name, share in shares.items()), end="; ", flush=True)
        test.expect(shares["nebula"] >= 0.99, f"{what}: of the pages of each thread's own objects {shares} are local")
    rows = vm.report("local-nebula").nodes
    for node in range(4):
        row = rows[f"node {node}"]
        test.expect(row["local"] >= 95 and row["committed"] > 1 << 20, f"the report of local-nebula: {rows}")
    rows = vm.report("exchange-nebula").nodes
    test.expect(all(rows[f"node {node}"]["returned"] > 1000 for node in range(4)), f"the report of exchange-nebula: {rows}")
    # A sample lies on its thread's node like other objects, and is counted like them.
    test.expect(vm.share_on_own_node("sampled", "exchange") >= 0.99, f"with samples {vm.share_on_own_node('sampled', 'exchange')} are local")
    profile, live = vm.report("sampled").profile, vm.report("sampled").row("total").live_bytes
    test.expect(profile["samples"] > 100 and profile["lost"] == 0, f"the profile of sampled: {profile}")
    test.expect(abs(profile["live_bytes"] - live) <= 6 * profile["live_error"] + 65536, f"{profile}, in truth {live}")
    vm.expect_shares("migrate", "migrate", [0, 0, 0, 0.97], [0.03, 0.01, 0.01, 1])
    test.expect(vm.report("migrate").nodes["node 3"]["arrivals"] >= 1, "no arrival is counted")

    for what in ("small", "large"):
        vm.expect_shares("interleave", what, [0.15] * 4, [0.35] * 4)
        vm.expect_shares("interleave:1,3", what, [0, 0.4, 0, 0.4], [0.02, 0.6, 0.02, 0.6])
        vm.expect_shares("preferred:2", what, [0, 0, 0.98, 0], [0.02, 0.02, 1, 0.02])
        vm.expect_shares("bind:1", what, [0, 0.98, 0, 0], [0.02, 1, 0.02, 0.02])
        vm.expect_shares("local", what, [0, 0.98, 0, 0], [0.02, 1, 0.02, 0.02])
        vm.expect_shares("off", what, [0, 0.98, 0, 0], [0.02, 1, 0.02, 0.02])
        vm.expect_shares("wrong", what, [0.98, 0, 0, 0], [1, 0.02, 0.02, 0.02])
        vm.expect_shares("policy", what, [0.15] * 4, [0.35] * 4)
        vm.expect_shares("policy-and-rule", what, [0, 0, 0, 0.97], [0.01, 0.01, 0.01, 1])
        vm.expect_shares("cpuset", what, [0, 0.4, 0.4, 0], [0, 0.6, 0.6, 0])
    for name in ("bind:0,3",):
        shares = vm.shares(name, "small")
        test.expect(shares[1] + shares[2] <= 0.02, f"{name}: {shares}")
    vm.expect_shares("large=interleave,small=local", "small", [0, 0.98, 0, 0], [0.02, 1, 0.02, 0.02])
    vm.expect_shares("large=interleave,small=local", "large", [0.15] * 4, [0.35] * 4)  # by huge pages
    vm.expect_shares("large=bind:3,small=preferred:0", "small", [0.97, 0, 0, 0], [1, 0.03, 0, 0])
    vm.expect_shares("large=bind:3,small=preferred:0", "large", [0, 0, 0, 1], [0, 0, 0, 1])
    test.expect(vm.report("off").nodes["rule"] == "NEBULA_NUMA=off", "the report does not say off")
    test.expect(vm.report("policy").nodes["rule"] == "the program's own policy holds: interleave 0-3",
                f"the report: {vm.report('policy').nodes}")
    test.expect(vm.report("cpuset").nodes["rule"] == "interleave; memory may come from 1-2", f"{vm.report('cpuset').nodes}")
    for name, rule, node, there in (("wrong", "bind:2,7", 7, "0-3"), ("cpuset-wrong", "preferred:0", 0, "1-2")):
        words = (f"nebula: NEBULA_NUMA={rule}: memory cannot come from node {node}; it can from {there}; "
                 "using the default, local\n")
        test.expect(words in vm.ended(name), f"expected {words!r} in:\n{vm.endings[name].output}")
    # A full node: what it has, then what is nearest; the farthest has nothing while a nearer one has room.
    shares = vm.shares("fill", "fill")
    test.expect(sum(shares) == 1 and shares[1] >= 0.4 and shares[0] + shares[2] >= 0.2 and shares[3] <= 0.02,
                f"400 MiB from the second node of 256 lie {shares}")
    shares = vm.shares("fill-limit", "fill")
    test.expect(shares[1] >= 0.98, f"60 MiB under a budget lie {shares}")
    node_limits(test, vm)


def charged_to(report, kind):
    """{number: account} of the accounts of this kind."""
    return {account[kind]: account for account in report.accounts if account["kind"] == kind}


def node_limits(test, vm):
    """Limits of nodes: what is above goes to the nearest node that has room, page by page, and to none where the rule says so."""
    limit = 40 << 20
    for name in ("fill-node-limit", "fill-thread-limit"):  # there the thread's account is charged for what lies on other nodes too
        first, here, third, last, *_ = vm.pages(name, "fill")
        test.expect(limit - (2 << 20) <= here * PAGE <= limit and first + third > 2000 and last == 0,
                    f"{name}: pages on the nodes: {vm.pages(name, 'fill')}")
        report = vm.report(name)
        account = charged_to(report, "node")[1]
        test.expect(limit - (2 << 20) <= account["peak"] <= limit and account["hits"] >= 1 and account["refusals"] == 0,
                    f"{name}: {account}")
        fallbacks = sum(row["fallbacks"] for heap, row in report.nodes.items() if heap != "rule")
        test.expect(fallbacks >= 50, f"{name}: {report.nodes}")
    threads = [account for account in vm.report("fill-thread-limit").accounts if account["kind"] == "thread"]
    test.expect(len(threads) == 1 and 50 << 20 < threads[0]["peak"] <= 80 << 20, f"fill-thread-limit: {threads}")
    pages = vm.pages("fill-node-limits", "fill")
    test.expect(all(on_node * PAGE <= 20 << 20 for on_node in pages) and sum(on_node * PAGE >= 18 << 20 for on_node in pages) >= 2,
                f"on four nodes of 20 MiB lie {pages} pages")
    for account in charged_to(vm.report("fill-node-limits"), "node").values():
        test.expect(account["peak"] <= 20 << 20 and account["refusals"] == 0, f"fill-node-limits: {account}")
    words = vm.ended("fill-node-bound", 1)
    test.expect("nebula: NEBULA_BUDGET_NODE 1 leaves no room for " in words and "object.address != NULL" in words,
                f"fill-node-bound wrote:\n{words}")


def memory_less_node(test):
    """A node with a processor and no memory: its thread takes from the nearest."""
    vm = Guest(test, Machine([256, 256, 256, 0]))
    vm.places("local", "spread", prefix=("taskset", "8"), variables={"NEBULA_STATS": "1"})
    vm.places("bind", "spread", variables={"NEBULA_NUMA": "bind:3"})
    vm.run(120)
    for what in ("small", "large"):
        vm.expect_shares("local", what, [0, 0, 0.98, 0], [0.02, 0.02, 1, 0])
    test.expect("memory cannot come from node 3; it can from 0-2" in vm.ended("bind"), vm.endings["bind"].output)
    rows = vm.report("local").nodes
    test.expect(set(rows) == {"rule", "node 0", "node 1", "node 2"}, f"the report: {rows}")


def pool_of_huge_pages(test):
    """NEBULA_HUGETLB with a pool on one node: what is bound to another gets ordinary pages there, and no signal."""
    file = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
    vm = Guest(test, Machine())
    vm.commands.append(Command("pool", ["sh", "-c", f"echo 60 > {file}; cat {file}"]))
    variables = {"NEBULA_HUGETLB": "1", "NEBULA_STATS": "1"}
    vm.places("fill", "fill", "60", variables=variables)
    vm.places("elsewhere", "spread", variables={**variables, "NEBULA_NUMA": "bind:3"})
    vm.places("here", "spread", variables={**variables, "NEBULA_NUMA": "bind:1"})
    vm.run(180)
    test.expect(int(vm.ended("pool")) >= 40, f"of 60 huge pages the guest has {vm.ended('pool')}")
    vm.expect_shares("fill", "fill", [0, 0.98, 0, 0], [0.02, 1, 0.02, 0.02])
    told = vm.report("fill").pages
    test.expect(told["hugetlb_obtained"] >= 40 << 20, f"fill: {told}")
    for name, node in (("elsewhere", 3), ("here", 1)):
        told = vm.report(name).pages
        for what in ("small", "large"):
            vm.expect_shares(name, what, [0.97 if n == node else 0 for n in range(4)], [1 if n == node else 0.03 for n in range(4)])
        test.expect((told["hugetlb_obtained"] > 0) == (node == 1) and (node == 1 or told["hugetlb_refusals"] > 0), f"{name}: {told}")


# That what one thread frees does not become another's needs shards, so more than one processor.
NEEDS_PROCESSORS = "ThreadHeap.WhatWasNeverAllocatedHereGoesHome"
UNIT_SUITES = ("Bits", "Topology", "SizeClass", "Account", "SpanHeap", "Large", "Slab", "Depot", "NodeHeap", "ThreadHeap", "Heap",
               "Nodes", "Config", "Text")


def suites(test):
    """The unit and property tests on four nodes. Not those that refuse every request once: they take minutes without emulation."""
    build = test.programs.parent
    unit, operations = build / "unit/unit_tests", build / "property/operations"
    vm = Guest(test, Machine([512] * 4))
    for suite in UNIT_SUITES:  # on one of them, because some tests count what a single thread heap or node heap has
        vm.add(f"unit-{suite}", ["taskset", "2", unit, f"--gtest_filter={suite}.*-{NEEDS_PROCESSORS}", "--gtest_brief=1"], library="", seconds=120,
               variables={"TEST_NODES": "machine"})
    vm.add("property", [operations], library="", seconds=240,
           variables={"TEST_NODES": "machine", "RC_PARAMS": "max_success=20 seed=4"})
    vm.run(600, [unit, operations])
    for command in vm.commands:
        vm.ended(command.name)


if __name__ == "__main__":
    harness.main({function.__name__: function for function in (four_nodes, memory_less_node, pool_of_huge_pages, suites)})
