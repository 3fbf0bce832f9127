"""The project's own tools around the library: scripts/run.sh, and the checker that every other case relies on."""

import re
import subprocess
from pathlib import Path

from workplace import SEARCH_PATH, WORKLOADS, Failure, report

CASES = {}

RUN_SCRIPT = Path(__file__).resolve().parents[2] / 'scripts' / 'run.sh'


def case(function):
    CASES[function.__name__.replace('_', '-')] = function
    return function


def require(condition, complaint):
    if not condition:
        raise Failure(complaint)


def must_be_wrong(text, what):
    try:
        report.checked(text)
    except report.Wrong:
        return
    raise Failure(f'the checker takes a report with {what}')


def added_to_each_number(line):
    """The line once for each of its numbers, with one added to it. Percentages, and what stands in a name, stay."""
    for found in re.finditer(r'(?<=  )[\d,]+(?= |$)(?! (?:%|others))', line):
        more = f'{report.number(found[0]) + 1:,}'
        yield line[:found.start()] + more + line[found.end():]


@case
def report_checker(workplace):
    """Whatever a line says is bound to another line: one number changed or one line lost must be noticed."""
    outcome = workplace.preloaded(['/usr/bin/python3', WORKLOADS / 'work.py'], reports=['python3'],
                                  environment={'PYTHONMALLOC': 'malloc'})
    text = next(workplace.folder.glob('reports-*/*.python3.txt')).read_text()
    require(outcome.reports[0].row('all small').allocations > 0, f'an empty report\n{text}')
    lines = text.splitlines(keepends=True)
    for place, line in enumerate(lines):
        before, after = ''.join(lines[:place]), ''.join(lines[place + 1:])
        must_be_wrong(before + after, f'line {place + 1} taken out: {line}')
        must_be_wrong(before + line + line + after, f'line {place + 1} twice: {line}')
        must_be_wrong(before + line[:-1], f'nothing after line {place + 1}, not even its end')
    first = lines.index('memory, bytes\n') + 1
    last = next(place for place, line in enumerate(lines) if line.startswith('  total '))
    changed = 0
    for place in range(first, last + 1):
        for line in added_to_each_number(lines[place]):
            must_be_wrong(''.join(lines[:place]) + line + ''.join(lines[place + 1:]), f'this line changed: {line}')
            changed += 1
    require(changed > 100, f'only {changed} numbers changed')
    must_be_wrong(re.sub(r'(  in pools +)([\d,]+)', r'\1-\2', text), 'a negative number')


def run_by_script(*command, **variables):
    return subprocess.run([RUN_SCRIPT, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env={'PATH': SEARCH_PATH, 'LC_ALL': 'C', **variables})


@case
def run_script(workplace):
    built = run_by_script('true', NEBULA_STATS='0')
    require((built.returncode, built.stdout, built.stderr) == (0, '', ''), f'not quiet: {built}')

    # Programs of coreutils close their stderr before the library is at its end.
    for command in (['ls', '/'], ['sort', RUN_SCRIPT], ['cat', RUN_SCRIPT], ['bash', '-c', 'echo said; exit 7'],
                    ['/usr/bin/python3', '-c', 'print(1); exit(3)'], ['git', '--version'], ['grep', '-q', 'x', '/dev/null']):
        plain = subprocess.run(command, capture_output=True, text=True, check=False)
        ran = run_by_script(*command)
        require((ran.returncode, ran.stdout) == (plain.returncode, plain.stdout), f'{command} differs: {plain} {ran}')
        try:
            workplace.keeper.keep(ran.stderr.encode(), 'text', 'standard error')
        except report.Wrong as wrong:
            raise Failure(f'{command}: the report on stderr is wrong: {wrong}\n{ran.stderr}') from None

    missing = run_by_script('no-such-program-anywhere')
    require((missing.returncode, missing.stdout) == (127, ''), f'a missing program: {missing}')
    require('no-such-program-anywhere' in missing.stderr, f'a missing program is not named: {missing}')
    usage = run_by_script()
    require(usage.returncode == 125 and usage.stdout == '' and 'usage' in usage.stderr, f'no arguments: {usage}')

    preload = run_by_script('printenv', 'LD_PRELOAD', LD_PRELOAD='libc.so.6', NEBULA_STATS='0').stdout
    require(preload.endswith('/libnebula.so:libc.so.6\n'), f'the user\'s own LD_PRELOAD became {preload}')
    elsewhere = workplace.folder / 'report'
    run_by_script('true', NEBULA_STATS_FILE=str(elsewhere))
    workplace.keeper.keep(elsewhere.read_bytes(), 'text', elsewhere)
