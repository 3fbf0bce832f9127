"""Programs at their NEBULA_BUDGET: refused at the limit and not before, never above it, and the report says so."""

import re
import subprocess

from programs import write_random_lines
from workplace import WORKLOADS, Failure, program

CASES = {}

MIB = 1 << 20


def case(function):
    CASES[function.__name__.replace('_', '-')] = function
    return function


def require(condition, complaint, outcome):
    if not condition:
        raise Failure(f'{complaint}\n{outcome.describe()}')


def run_at_limit(workplace, name, limit, *steps, **options):
    """Runs the steps under the budget; the reports by `name` must all show it kept. Returns the outcome."""
    outcome = workplace.preloaded(*steps, reports=[name], variables={'NEBULA_BUDGET': str(limit)}, **options)
    require(not any(outcome.statuses), f'fails under a budget of {limit} bytes', outcome)
    for report in outcome.reports:
        require(report.budget['limit'] == limit, f'{report.program} reports the limit {report.budget["limit"]}', outcome)
        require(report.peak['committed'] <= limit, f'{report.program} went above its limit', outcome)
    return outcome


def require_refusals(outcome, name, least):
    for report in outcome.reports:
        if report.program == name:
            require(report.budget['hits'] >= 1, 'the report counts no time at the limit', outcome)
            require(report.budget['refusals'] >= least,
                    f'{report.budget["refusals"]} refusals in the report, the program saw {least}', outcome)


def take_everything(workplace, limit, threads):
    greedy = workplace.inputs / 'greedy'
    if not greedy.exists():
        subprocess.run([program('cc'), '-O2', '-pthread', '-o', greedy, WORKLOADS / 'greedy.c'], check=True)
    outcome = run_at_limit(workplace, 'greedy', limit, [str(greedy), str(threads)])
    said = dict(re.findall(r'(\w+) (\d+)', outcome.stdout.read_text()))
    bytes_got, refusals = int(said['bytes']), int(said['refusals'])
    require(bytes_got <= limit, f'the program got {bytes_got} bytes, more than its budget of {limit}', outcome)
    # Metadata, and slots that lie ready in the pools of other threads, are the rest.
    least = limit * 9 // 10 - MIB - threads * MIB // 8
    require(bytes_got >= least, f'refused after {bytes_got} bytes of {limit}; {least} can be expected', outcome)
    require_refusals(outcome, 'greedy', refusals)


@case
def budget_greedy(workplace):
    for limit in (8 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB):
        take_everything(workplace, limit, threads=1)


@case
def budget_greedy_threads(workplace):
    for limit in (8 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB):
        take_everything(workplace, limit, threads=8)


PYTHON_GREEDY = '''
kept = []
try:
    while True:
        kept.append(bytearray(SIZE))
except MemoryError:
    got = len(kept) * SIZE
    kept.clear()
    print('MemoryError')
print(got)
# The interpreter is as good as new.
print(len([str(number) for number in range(10000)]))
'''


@case
def budget_python(workplace):
    for limit in (64 * MIB, 256 * MIB, 1024 * MIB):
        for size in (MIB, 5000):
            script = workplace.inputs / f'greedy-{size}.py'
            script.write_text(PYTHON_GREEDY.replace('SIZE', str(size)))
            outcome = run_at_limit(workplace, 'python3', limit, ['/usr/bin/python3', script],
                                   environment={'PYTHONMALLOC': 'malloc'})
            first, got, again = outcome.stdout.read_text().split()
            require((first, again) == ('MemoryError', '10000'), 'other output than expected', outcome)
            # The interpreter itself takes some 10 MiB.
            require(limit * 3 // 4 - 16 * MIB <= int(got) <= limit, f'got {got} bytes of {limit}', outcome)
            require_refusals(outcome, 'python3', 1)


@case
def budget_sort(workplace):
    """sort asks for a large buffer and for half as much after each refusal: its result must stay the same."""
    lines = workplace.inputs / 'lines'
    write_random_lines(lines, megabytes=40, seed=6)
    expected = workplace.folder / 'expected'
    with expected.open('wb') as output:
        subprocess.run([program('sort'), lines], stdout=output, env={'LC_ALL': 'C'}, check=True)
    for limit in (8 * MIB, 64 * MIB, 256 * MIB):
        outcome = run_at_limit(workplace, 'sort', limit, ['sort', '--parallel=2', '--buffer-size=1G', lines],
                               environment={'LC_ALL': 'C'})
        require_refusals(outcome, 'sort', 1)
        compared = subprocess.run([program('cmp'), expected, outcome.stdout], capture_output=True, text=True)
        require(compared.returncode == 0, f'the sorted output differs: {compared.stdout}', outcome)
        outcome.stdout.unlink()


TREE_MEMBER = r"""
import os, signal, subprocess, sys, time
depth, folder, start = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
start = start or time.time() + 8  # when all are there
kept, refused = [], 0
children = []
if depth > 0:
    for number in range(4):
        if number % 2 == 0:
            children.append(subprocess.Popen([sys.executable, __file__, str(depth - 1), folder, str(start)]).pid)
            continue
        child = os.fork()
        if child == 0:
            os.execv(sys.executable, [sys.executable, __file__, str(depth - 1), folder, str(start)])
        children.append(child)
time.sleep(max(0, start - time.time()))
end = time.monotonic() + 2
victim = children[0] if depth == 1 else None
while time.monotonic() < end:
    if victim is not None and time.monotonic() > end - 1:
        os.kill(victim, signal.SIGKILL)
        victim = None
    try:
        kept.append(bytearray(300000))
    except MemoryError:
        refused += 1
        del kept[len(kept) // 2:]
        time.sleep(0.001)
kept.clear()
for child in children:
    os.waitpid(child, 0)
with open(os.path.join(folder, f'{os.getpid()}.refused'), 'w') as file:
    file.write(str(refused))
"""


@case
def budget_tree(workplace):
    """Twenty-one processes that want everything share 256 MiB; four of them are killed in the middle of it."""
    limit = 256 * MIB
    script = workplace.inputs / 'member.py'
    script.write_text(TREE_MEMBER)
    notes = workplace.inputs / 'notes'
    notes.mkdir()
    outcome = workplace.preloaded(['/usr/bin/python3', script, '2', notes, '0'], reports=['python3'],
                                  variables={'NEBULA_BUDGET_TREE': str(limit)}, environment={'PYTHONMALLOC': 'malloc'})
    require(not any(outcome.statuses), 'fails under a budget for the tree', outcome)
    refusals = [int(note.read_text()) for note in notes.iterdir()]
    require(len(refusals) == 17, f'{len(refusals)} processes lived to the end, not 17', outcome)
    require(sum(refusals) > 0, 'the limit was never met: the test has tested nothing', outcome)
    trees = [report.accounts[0] for report in outcome.reports if report.program == 'python3']
    require(all(tree['peak'] <= limit for tree in trees), f'the sum went above the limit: {trees}', outcome)
    last = max(trees, key=lambda tree: tree['found_dead'])
    require(last['found_dead'] >= 4, f'{last["found_dead"]} processes were found dead, four were killed', outcome)
    require(any(tree['charged'] == tree['share'] and tree['processes'] == 1 for tree in trees),
            f'the last process is charged for others: {trees}', outcome)


@case
def budget_sizes(workplace):
    """Objects of a size have a limit of their own; the rest of the program does not notice."""
    script = workplace.inputs / 'sizes.py'
    script.write_text("""
kept = []
try:
    while True:
        kept.append(bytearray(5000))
except MemoryError:
    print('MemoryError')
other = [None] * 1000
for place in range(1000):
    other[place] = bytearray(20000)
kept.clear()
kept = [bytearray(5000) for _ in range(1000)]
print(len(other), len(kept))
""")
    outcome = workplace.preloaded(['/usr/bin/python3', script], reports=['python3'],
                                  variables={'NEBULA_BUDGET_SIZE': '4096-8191:8M'}, environment={'PYTHONMALLOC': 'malloc'})
    require(outcome.stdout.read_text() == 'MemoryError\n1000 1000\n', 'other output than expected', outcome)
    account = outcome.reports[0].accounts[0]
    require(7 * MIB <= account['peak'] <= 8 * MIB, f'the account peaked at {account["peak"]}', outcome)
    require(account['refusals'] >= 1, 'the report shows no refusal', outcome)


@case
def budget_modules(workplace):
    """What one library allocates has a limit, by every way; what another and the program allocate has none."""
    folder = workplace.inputs / 'modules'
    folder.mkdir(exist_ok=True)
    source = WORKLOADS / 'modules.c'
    for name in ('liblimited.so.1', 'libfree.so'):
        subprocess.run([program('cc'), '-O2', '-DLIBRARY', '-fno-builtin', '-shared', '-fPIC', '-o', folder / name, source], check=True)
    subprocess.run([program('cc'), '-O2', '-fno-builtin', '-o', folder / 'modules', source, '-ldl'], check=True)
    limit = 8 * MIB
    libraries = [str(folder / name) for name in ('libfree.so', 'liblimited.so.1', 'libfree.so')]
    outcome = workplace.preloaded([str(folder / 'modules'), *libraries], reports=['modules'],
                                  variables={'NEBULA_BUDGET_MODULE': f'liblimited.so:{limit}'})
    require(not any(outcome.statuses), 'fails', outcome)
    lines = re.findall(r'^(\S+) (\d) (\d+) (\d+)$', outcome.stdout.read_text(), re.MULTILINE)
    require(len(lines) == 3 * 2 * 32 + 4, f'{len(lines)} lines', outcome)
    for name, way, size, got in lines:
        if name == 'liblimited.so.1':
            require(limit * 9 // 10 <= int(got) <= limit, f'way {way}, size {size}: got {got} of {limit}', outcome)
        else:
            require(int(got) >= 16 * MIB, f'{name} got {got} by way {way} in size {size}', outcome)
    (account,) = outcome.reports[0].accounts
    require(account['name'] == 'liblimited.so' and account['limit'] == limit, f'{account}', outcome)
    require(account['refusals'] >= 2 * 32 and account['peak'] <= limit, f'{account}', outcome)


THREADS = '''
import ctypes, threading
name = ctypes.CDLL(None).pthread_setname_np
name.argtypes = [ctypes.c_ulong, ctypes.c_char_p]
got = {}
all_have_begun = threading.Barrier(3)  # a thread that ended before would leave its account to the next by the same rule
def take(who):
    name(threading.get_ident(), who.encode())
    kept = [bytearray(1 << 20)]
    all_have_begun.wait()
    try:
        while len(kept) < 40:
            kept.append(bytearray(1 << 20))
    except MemoryError:
        pass
    got[who] = len(kept)
threads = [threading.Thread(target=take, args=(who,)) for who in ('worker-1', 'worker-2', 'other')]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*(f'{who}={got[who]}' for who in sorted(got)))
'''


@case
def budget_threads(workplace):
    """Threads of a python program, each with a limit by its name, or with none."""
    script = workplace.inputs / 'threads.py'
    script.write_text(THREADS)
    outcome = workplace.preloaded(['/usr/bin/python3', script], reports=['python3'],
                                  variables={'NEBULA_BUDGET_THREAD': 'worker-*:16M,main:1G'})
    require(outcome.stdout.read_text() == 'other=40 worker-1=15 worker-2=15\n', 'other output than expected', outcome)
    accounts = outcome.reports[0].accounts
    workers = [one for one in accounts if one['kind'] == 'thread' and one['name'].startswith('worker-')]
    require(len(workers) == 2 and all(one['limit'] == 16 * MIB and one['refusals'] >= 1 for one in workers), f'{accounts}', outcome)
    require(accounts[-1]['kind'] == 'threads' and accounts[-1]['count'] == 3, f'{accounts}', outcome)


@case
def budget_numa_node(workplace):
    """On one node its limit is the program's, but for metadata; a node that there is not is refused."""
    script = workplace.inputs / 'node.py'
    script.write_text(PYTHON_GREEDY.replace('SIZE', '1000000'))
    outcome = workplace.preloaded(['/usr/bin/python3', script], reports=['python3'], variables={'NEBULA_BUDGET_NODE': '0:64M'})
    require(not any(outcome.statuses) and 'MemoryError' in outcome.stdout.read_text(), 'is not refused', outcome)
    (account,) = outcome.reports[0].accounts
    require(account['kind'] == 'node' and account['node'] == 0, f'{account}', outcome)
    require(60 * MIB <= account['peak'] <= 64 * MIB, f'{account}', outcome)
    outcome = workplace.preloaded(['/usr/bin/true'], reports=[], variables={'NEBULA_BUDGET_NODE': '0:64M,7:1G'})
    require(outcome.statuses == [78], 'runs with a limit on a node that there is not', outcome)
    require('NEBULA_BUDGET_NODE: the limit of node 7 cannot hold' in outcome.stderr.read_text(), 'does not say why', outcome)


@case
def budget_of_every_kind(workplace):
    """All limits at once, far away: programs of all kinds run as without them, and no account has more or less than there is.

    Several have C++ libraries, whose constructors allocate before the limits are read."""
    far = 64 << 30
    kinds = {'NEBULA_BUDGET': f'{far}', 'NEBULA_BUDGET_TREE': f'{far}', 'NEBULA_BUDGET_NODE': f'0:{far}', 'NEBULA_BUDGET_THREAD': f'{far}',
             'NEBULA_BUDGET_SIZE': f'1-1024:{far},1025-:{far}'}
    source = WORKLOADS / 'work.cpp'
    for command in (['clang++', '-std=c++17', '-O1', '-c', source, '-o', 'work.o'], ['redis-server', '--version'], ['node', '-e', 'console.log(1)'],
                    ['java', '-version'], ['sqlite3', ':memory:', 'select 1'], ['perl', '-e', 'print 1'], ['git', '--version'],
                    ['/usr/bin/python3', '-c', 'print(1)']):
        outcome = workplace.preloaded(command, variables=kinds)
        require(not any(outcome.statuses) and 'leaves no room' not in outcome.stderr.read_text(), f'{command[0]} is refused something', outcome)
        require(outcome.reports, f'{command[0]} has written no report', outcome)
        for report in outcome.reports:
            sizes = [one for one in report.accounts if one['kind'] == 'size']
            require(len(sizes) == 2 and all(one['charged'] <= one['peak'] <= report.peak['committed'] for one in sizes),
                    f'{report.program}: {report.accounts}', outcome)
            require(not any(one['refusals'] for one in report.accounts), f'{report.program}: {report.accounts}', outcome)


@case
def budget_compiler(workplace):
    """A compiler that does not get its memory says so and fails; one that does compiles the same."""
    source = WORKLOADS / 'work.cpp'
    workplace.compare(['g++', '-O1', '-c', source, '-o', 'work.o'], reports=['cc1plus'], environment={'NEBULA_BUDGET': '1G'})
    outcome = workplace.preloaded(['g++', '-O1', '-c', source, '-o', 'work.o'], reports=['cc1plus'],
                                  variables={'NEBULA_BUDGET': '3M'})
    require(outcome.statuses != [0], 'compiles in 3 MiB', outcome)
    require('out of memory' in outcome.stderr.read_text(), 'the compiler does not say why it fails', outcome)
    found = next(report for report in outcome.reports if report.program == 'cc1plus')
    require(found.budget['refusals'] >= 1 and found.peak['committed'] <= 3 * MIB, f'{found.budget}', outcome)


@case
def budget_node(workplace):
    """Buffers of node.js come from malloc: refused, the program gets an exception, and goes on when it has let go."""
    script = workplace.inputs / 'buffers.js'
    script.write_text("""
let kept = [], refused = false;
try { for (;;) kept.push(Buffer.alloc(4 << 20, 1)); } catch (error) { refused = true; }
const count = kept.length;
kept = null;
if (global.gc) { gc(); gc(); }
console.log(refused, count >= 40 && count <= 64, Buffer.alloc(8 << 20, 1).length);
""")
    outcome = run_at_limit(workplace, 'node', 256 * MIB, ['node', '--expose-gc', script])
    require(outcome.stdout.read_text() == 'true true 8388608\n', 'other output than expected', outcome)
    require_refusals(outcome, 'node', 1)


@case
def budget_java(workplace):
    """A Java machine takes its heap from the system and its own needs from malloc: with enough it runs, with too little it says
    so and fails."""
    run_at_limit(workplace, 'java', 256 * MIB, ['java', '-Xmx64m', '-version'])
    outcome = workplace.preloaded(['java', '-Xmx64m', '-XX:ErrorFile=/dev/null', '-version'], variables={'NEBULA_BUDGET': '1M'})
    require(outcome.statuses != [0], 'runs in a mebibyte', outcome)
    require('insufficient memory' in outcome.stdout.read_text() + outcome.stderr.read_text() or
            'NEBULA_BUDGET leaves no room' in outcome.stderr.read_text(), 'nothing says why it fails', outcome)


@case
def budget_redis(workplace):
    """A server that is filled until nothing more goes in: it says so, dies, and its report shows why."""
    script = workplace.inputs / 'fill.sh'
    script.write_text("""
redis-server --port 0 --unixsocket ./socket --save '' --appendonly no --logfile ./log &
server=$!
for _ in $(seq 100); do [ "$(redis-cli -s ./socket ping 2>&1)" = PONG ] && break; sleep 0.1; done
timeout 120 redis-benchmark -s ./socket -t set -n 1000000 -r 100000000 -d 2000 -P 16 -q >./benchmark 2>&1
benchmark=$?
for _ in $(seq 300); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
if kill -0 "$server" 2>/dev/null; then
  # What it hangs on, or what kept the benchmark from filling it.
  echo "the server lives, the benchmark has ended with $benchmark"
  tr '\r' '\n' <./benchmark | tail -n 5
  tail -n 20 ./log
  for thread in "/proc/$server/task"/*; do cat "$thread/comm" "$thread/wchan" "$thread/syscall"; done
  kill -9 "$server"
fi
wait "$server"
echo "status $?"
grep -c 'Out Of Memory' ./log
""")
    outcome = workplace.preloaded(['sh', script], variables={'NEBULA_BUDGET': '64M', 'NEBULA_BUDGET_ACTION': 'abort'})
    said = outcome.stderr.read_text()
    require('the server lives' not in outcome.stdout.read_text(), 'the server lived', outcome)
    require('NEBULA_BUDGET is exhausted' in said or 'status 1' in outcome.stdout.read_text(), 'the server lived', outcome)
    servers = [report for report in outcome.reports if report.program.startswith('redis-server')]
    require(any(report.budget['refusals'] >= 1 and report.peak['committed'] <= 64 * MIB for report in servers),
            f'no report of the server shows the refusal: {[report.budget for report in servers]}', outcome)


@case
def budget_storm(workplace):
    """A program that goes on after each of very many refusals loses nothing and leaks nothing."""
    script = workplace.inputs / 'storm.py'
    script.write_text("""
import time
end = time.monotonic() + 20
kept, refusals = [], 0
while time.monotonic() < end:
    try:
        while True:
            kept.append(bytearray(1000 + 7919 * len(kept) % 200000))
    except MemoryError:
        refusals += 1
        del kept[::2]
best = 0
kept.clear()
try:
    while True:
        kept.append(bytearray(1 << 20))
except MemoryError:
    best = len(kept)
kept.clear()
print(refusals > 100, best)
""")
    outcome = run_at_limit(workplace, 'python3', 64 * MIB, ['/usr/bin/python3', script], environment={'PYTHONMALLOC': 'malloc'})
    many, best = outcome.stdout.read_text().split()
    require(many == 'True', 'the limit was hardly ever met: the test has tested nothing', outcome)
    require(int(best) >= 48, f'after the storm there is room for {best} MiB of 64', outcome)
    require_refusals(outcome, 'python3', 100)
