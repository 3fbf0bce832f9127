"""The exit report: its lines, and the sums that must hold between them.

`checked(text)` returns a Report or raises Wrong. Every line must be known, in its place and complete; an unknown or a
missing line is as wrong as a sum that does not add up. Numbers of programs whose other threads still run are of
slightly different moments; what holds only at rest is checked only then.
"""

import re
from dataclasses import dataclass

PAGE = 4096
REGION = 2 << 20
UNIT = 64 << 10
UNITS_OF_SLAB = {6656: 2, 14336: 2, 24576: 2, 28672: 4}  # by the size of the slot; of others 1
STEPS = ['own pools', 'depots', 'other threads', 'empty slabs', 'dirty pages', 'slab pages', 'all dirty pages']
LADDER = ['live', 'in pools', 'in depots', 'free in slabs', 'dead in blocks', 'dirty spans', 'metadata',
          '= committed', 'purged and untouched', '= mapped']
OBJECTS_HEADING = 'objects         allocations          frees         live       live bytes   slabs   used'
AT_SOMEWHAT_DIFFERENT_MOMENTS = ('  (threads were running and would not pause: '
                                 'the numbers are of slightly different moments, {apart} bytes apart)')


class Wrong(Exception):
    """What is wrong with a report, in one or more lines."""


@dataclass
class Row:
    """One line of the table of objects."""

    name: str
    allocations: int
    frees: int
    live: int
    live_bytes: int
    slabs: int
    used_percent: int  # 0 where the line has none

    @property
    def slot_size(self):
        """Of a row of one size class; None for the others."""
        found = re.fullmatch(r'size ([\d,]+)', self.name)
        return number(found[1]) if found else None


@dataclass
class Report:
    """A report as it was read. Each group of numbers is a dictionary by the names in the pattern that read it."""

    program: str
    pid: int
    options: dict
    at_rest: bool
    apart: int  # by how much the ladder may not add up when threads were running
    ladder: dict
    rows: list
    routes: dict  # by route; empty without NEBULA_ROUTE
    auto_routes: dict  # with 'shown', the moves; empty without NEBULA_ROUTE=auto
    process: dict
    peak: dict
    threads: dict
    budget: dict
    pages: dict
    waste: dict
    profile: dict  # empty when none is taken
    misuse: dict
    handlers: dict
    accounts: list
    reclaim: dict
    actions: dict
    pressure: dict
    reason: str | None  # None: at exit, or malloc_stats
    advice: list
    nodes: dict

    def row(self, name):
        """The row of that name; one of zeros when there is none."""
        return next((row for row in self.rows if row.name == name), Row(name, 0, 0, 0, 0, 0, 0))


def number(text):
    return int(text.replace(',', ''))


def pattern(form):
    """A line's form as a regular expression: {name} is a whole number, grouped by thousands and without a sign, and
    {name:s} a time in seconds."""
    parts = re.split(r'\{(\w+)(:s)?\}', form)
    result = re.escape(parts[0])
    for name, seconds, literal in zip(parts[1::3], parts[2::3], parts[3::3]):
        grouped = r'\d{1,3}(?:,\d{3})*'
        result += rf'(?P<{name}>{grouped}\.\d{{3}}) s' if seconds else rf'(?P<{name}>{grouped})'
        result += re.escape(literal)
    return result


class Lines:
    """The lines of a report, taken from the top."""

    def __init__(self, text):
        if not text.endswith('\n'):
            raise Wrong('the report ends within a line')
        self._lines = text.split('\n')[:-1]
        self._at = 0

    def take(self, expression, optional=False):
        """The match of the next line, which must be of this form; where it is optional, None leaves it in its place."""
        line = self._lines[self._at] if self._at < len(self._lines) else None
        found = None if line is None else re.fullmatch(expression, line)
        if found:
            self._at += 1
        elif not optional:
            what = 'the report ends' if line is None else f'there is {line!r}'
            raise Wrong(f'line {self._at + 1}: {what} where a line like /{expression}/ belongs')
        return found

    def numbers(self, form, optional=False):
        found = self.take(pattern(form), optional)
        return {name: number(text) for name, text in found.groupdict().items() if '.' not in text} if found else {}

    def length(self):
        return sum(len(line) + 1 for line in self._lines[:self._at])

    def end(self):
        if self._at < len(self._lines):
            raise Wrong(f'line {self._at + 1}: unknown: {self._lines[self._at]!r}')


NODES_HEADING = ('  heap                             in use        committed  resident   local     returned  fallbacks  '
                 'arrivals')


def read_nodes(lines):
    """[{in_use: …} by heap's purpose] where there are several heaps, and the line above them as 'rule'; {} on one node."""
    if not lines.take('', optional=True):
        return {}
    nodes = {'rule': lines.take(r'nodes     (.+)')[1]}
    if not lines.take(re.escape(NODES_HEADING), optional=True):
        return nodes
    while found := lines.take(r'  (?P<heap>\S.{0,21}?) +(?P<in_use>[\d,]+) +(?P<committed>[\d,]+) +(?P<resident>[\d,]+)/'
                              r'(?P<looked_at>[\d,]+) +(?:(?P<local>\d+) %|-) +(?P<returned>[\d,]+) +'
                              r'(?P<fallbacks>[\d,]+) +(?P<arrivals>[\d,]+)', optional=True):
        nodes[found['heap']] = {name: number(text) for name, text in found.groupdict().items()
                                if name != 'heap' and text is not None}
    lines.take(r'  \(the system refused to place memory [\d,]+ times\)', optional=True)
    return nodes


def read_row(lines):
    grouped = r'[\d,]+'
    found = lines.take(rf'  (?P<name>size {grouped}|{grouped} others|all small|large|in blocks|in handlers|total) +'
                       rf'(?P<allocations>{grouped}) +(?P<frees>{grouped}) +(?P<live>{grouped}) +'
                       rf'(?P<live_bytes>{grouped}) +(?P<slabs>{grouped})(?: +(?P<used_percent>\d+) %)?')
    numbers = {name: number(text or '0') for name, text in found.groupdict().items() if name != 'name'}
    return Row(found['name'], **numbers)


def read_options(text):
    if text == 'all default':
        return {}
    pairs = re.split(r' (?=NEBULA_[A-Z_]+=)', text)
    return dict(pair.split('=', 1) for pair in pairs)


def read_ladder_line(lines, name):
    """None for the line that only routes bring."""
    found = lines.take(rf'  {re.escape(name)} +([\d,]+)', optional=name == 'dead in blocks')
    return number(found[1]) if found else None


def read_routes(lines):
    """{'pool': …, 'bump': …, 'node': …} where NEBULA_ROUTE is in force, else {}."""
    if not lines.take('routes', optional=True):
        return {}
    start = '  {route:<10}{{objects}} objects, {{live}} live of {{bytes}} bytes; {{held}} bytes held '
    rest = {'pool': 'free', 'node': 'dirty',
            'bump': 'dead; {allocated} bytes allocated; {rewinds} rewinds, {taken} blocks taken, {reuses} times one used again, '
                    '{now} now of {block_bytes} bytes, limit {limit}, met {met} times'}
    return {route: lines.numbers(start.format(route=route) + rest[route]) for route in ('pool', 'bump', 'node')}


def read_auto_routes(lines):
    facts = lines.numbers('  auto      {moves} moves in {looks} looks, {away} size classes away from pools; {missed} looks missed; '
                          'looks took {microseconds} us', optional=True)
    if not facts:
        return {}
    shown = []
    while found := lines.take(r'    size (?P<size>[\d,]+) from (?P<from>pool|bump|node) to (?P<to>pool|bump|node) at (?P<at>[\d,.]+) s, '
                              r'(?P<reason>[a-z ]+)(?:; (?P<allocated>[\d,]+) allocated in (?P<window>[\d,.]+) s)?'
                              r'(?:, (?P<freed>[\d,]+) freed: an object lives for (?P<life>[\d,]+) bytes of these)?'
                              r'(?:; (?P<live>[\d,]+) live in (?P<held>[\d,]+) bytes, (?P<expected>[\d,]+) expected)?', optional=True):
        words = found.groupdict()
        numbers = {name: number(words[name] or '0') for name in ('size', 'allocated', 'freed', 'life', 'live', 'held', 'expected')}
        shown.append({**numbers, **{name: words[name] for name in ('from', 'to', 'reason', 'at')}})
    return {**facts, 'shown': shown}


def read_budget(lines):
    rest = (r'; peak {peak}; hit {hits} times, reclaimed {reclaimed} bytes; refused {refusals} requests, largest '
            r'{largest_refused} bytes')
    soft_rest = '; above the soft limit {soft_crossings} times, let go {soft_let_go} times'
    limit = 'limit {limit}, the last {reserve} for small requests, {reserve_used} of them used'
    forms = ['budget    no limit' + rest,
             'budget    ' + limit + rest,
             'budget    no limit, soft limit {soft_limit}' + rest + soft_rest,
             'budget    ' + limit + ', soft limit {soft_limit}' + rest + soft_rest]
    found = lines.take('|'.join(re.sub(r'\?P<(\w+)>', rf'?P<\1_{place}>', pattern(form))
                                for place, form in enumerate(forms)))
    numbers = {name.rpartition('_')[0]: number(text) for name, text in found.groupdict().items() if text is not None}
    return {'limit': None, 'soft_limit': None, **numbers}


def read_accounts(lines):
    """Those beside the process's, in the report's order; the last, where threads have accounts, is of kind 'threads': all of them."""
    end = '; peak {peak}; hit {hits} times; refused {refusals} requests, largest {largest_refused} bytes'
    tree = lines.numbers('  tree      limit {limit}; {charged} charged to {processes} processes, {share} to this one; '
                         '{found_dead} found dead' + end, optional=True)
    accounts = [{'kind': 'tree', **tree}] if tree else []
    whose = {'node': pattern('{node}'), 'thread': r'(?P<name>.*) \((?P<thread_id>\d+)(?P<ended>, ended)?(?:, (?P<inherited>[\d,]+) inherited)?\)',
             'size': pattern('{first} to ') + r'(?P<last>any|[\d,]+)', 'module': '(?P<name>.+)'}
    for kind, form in whose.items():
        while found := lines.take(f'  {kind:<9} ' + form + pattern(': limit {limit}; {charged} charged' + end), optional=True):
            words = found.groupdict()
            named = {name: words.pop(name) for name in ('name', 'ended') if name in words}
            accounts.append({'kind': kind, **named, **{name: None if text == 'any' else number(text or '0') for name, text in words.items()}})
    threads = lines.numbers('  threads   {count} accounts, {shown} of them shown; {charged} charged; {without} times there was none to be had; '
                            'hit {hits} times; refused {refusals} requests, largest {largest_refused} bytes', optional=True)
    return [*accounts, {'kind': 'threads', **threads}] if threads else accounts


def shown_time(microseconds):
    if microseconds < 1000:
        return f'{microseconds} us'
    divisor, unit = (10, 'ms') if microseconds < 1_000_000 else (10_000, 's')
    hundredths = microseconds // divisor
    return f'{hundredths // 100:,}.{hundredths % 100:02} {unit}'


ENDS_OF_LIVES = [2 ** power for power in range(35)]  # microseconds; beyond the last there is no end
NAMES_OF_LIVES = [*(f'below {shown_time(end)}' for end in ENDS_OF_LIVES), f'from {shown_time(ENDS_OF_LIVES[-1])}']


def read_profile(lines):
    """Its numbers, those of the estimates with live_ and allocated_ before their names, and 'lives' by their names."""
    profile = lines.numbers('profile   one sample in {period} bytes: {samples} samples, {freed} of them freed, at {sites} sites '
                            'in {table} bytes; {lost} lost, {unplaced} without a site',
                            optional=True)
    if not profile:
        return {}
    for which in ('live', 'allocated'):
        profile.update(lines.numbers(f'  {which:<10}about {{{which}_bytes}} bytes (standard error {{{which}_error}}) in '
                                     f'{{{which}_objects}} objects'))
    profile['lives'] = {}
    if profile['samples']:
        lines.take('  lives                 objects freed      bytes freed       objects live       bytes live')
        while found := lines.take(r'  (?P<name>(?:below|from) [\d,.]+ (?:us|ms|s)) +(?P<objects_freed>[\d,]+) +(?P<bytes_freed>[\d,]+) +'
                                  r'(?P<objects_live>[\d,]+) +(?P<bytes_live>[\d,]+)', optional=True):
            profile['lives'][found['name']] = {name: number(text) for name, text in found.groupdict().items() if name != 'name'}
    return profile


def read(text):
    lines = Lines(text)
    report = read_lines(lines)
    lines.end()
    return report


def length(text):
    """Of the report at the start of a text that may go on with other things."""
    lines = Lines(text[:text.rfind('\n') + 1])
    read_lines(lines)
    return lines.length()


def read_lines(lines):
    heading = lines.take(r'nebula [\w.+-]+ report: (?P<program>.*), pid (?P<pid>\d+)'
                         r'(?:, (?P<reason>signal|interval|budget|abort|crash|_exit|execve))?')
    options = read_options(lines.take(r'  options   (?P<options>.+)')['options'])
    lines.take(pattern('  time      {elapsed:s} elapsed, {user:s} user, {system:s} system'))
    process = lines.numbers('  process   {minor_faults} minor faults, {major_faults} major faults, '
                            'peak RSS {peak_resident} bytes')
    lines.take('')
    lines.take('memory, bytes')
    ladder = {name: found for name in LADDER if (found := read_ladder_line(lines, name)) is not None}
    peak = lines.numbers('  peak committed {committed} at {at:s}, peak in use (live, in pools, in depots) {in_use}')
    moments = lines.numbers(AT_SOMEWHAT_DIFFERENT_MOMENTS, optional=True)
    lines.take('')
    lines.take(re.escape(OBJECTS_HEADING))
    rows = [read_row(lines)]
    while rows[-1].name != 'total':
        rows.append(read_row(lines))
    lines.take('')
    threads = lines.numbers('threads   {started} started, {now} now, {heaps} heaps; {refills} refills, {flushes} flushes; '
                            'depots {batches_in} batches in, {batches_out} out; {waits} waits for a lock')
    routes = read_routes(lines)
    auto_routes = read_auto_routes(lines) if routes else {}
    budget = read_budget(lines)
    accounts = read_accounts(lines)
    reclaim = lines.numbers('  reclaim   ' + '; '.join(f'{step} {{{step.replace(" ", "_")}}} times, '
                                                          f'{{{step.replace(" ", "_")}_bytes}} bytes, {{t{place}:s}}'
                                                          for place, step in enumerate(STEPS)), optional=True)
    actions = lines.numbers('  actions   {waited} requests waited, {over_limit} charges went over a limit', optional=True)
    pressure = lines.numbers('  pressure  {looks} looks, {moderate} times moderate, {severe} severe; {given_back} bytes given '
                             'back for it', optional=True)
    pages = lines.take(pattern('pages     {purges} purges of {purged} bytes, {purge_refusals} refused; {moves} moves of '
                               '{moved} bytes; {grown_in_place} objects grown in place; huge pages asked for in '
                               '{huge_regions} regions (system: ') + r'[\w ]+\)')
    pages = {name: number(text) for name, text in pages.groupdict().items()}
    pages |= lines.numbers('  slabs     {empty_slabs} of {slabs} hold nothing: whoever needs memory gets them; looked at '
                           '{slab_looks} times for pages that hold nothing, {slab_purged} bytes of them given back')
    reserve = lines.numbers('  reserve   {asked} bytes asked for, {obtained} obtained, {touched} touched', optional=True)
    pages |= {f'reserve_{name}': found for name, found in reserve.items()}
    pages |= lines.numbers('  hugetlb   {hugetlb_asked} bytes asked for, {hugetlb_obtained} obtained; refused {hugetlb_refusals} times',
                           optional=True)
    pages |= lines.numbers('  lock      {lock_asked} bytes asked for, {lock_obtained} obtained; refused {lock_refusals} times',
                           optional=True)
    kind = lines.take(r'  kind      (?P<kind>free|cold|pageout): ' + pattern('the system was advised {advices} times, about {advised} '
                      'bytes; refused {advice_refusals} times'), optional=True)
    if kind:
        pages |= {name: text if name == 'kind' else number(text) for name, text in kind.groupdict().items()}
    waste = lines.numbers('waste     about {internal} bytes of live slots not asked for (from {requests} requests); '
                          '{external} bytes committed and neither live nor metadata')
    profile = read_profile(lines)
    misuse = lines.numbers('misuse    {double_frees} double frees, {invalid_frees} invalid frees, {foreign} foreign '
                           'pointers, {foreign_to_libc} of them libc\'s')
    handlers = lines.numbers('handlers  {allocations} allocations inside an interrupted allocation, {deferred} frees put '
                             'off, {lost} lost', optional=True)
    advice = []
    while found := lines.take(r'advice    (.+)', optional=True):
        advice.append(found[1])
    nodes = read_nodes(lines)
    return Report(heading['program'], int(heading['pid']), options, not moments,
                  moments.get('apart', 0), ladder, rows, routes, auto_routes, process, peak, threads, budget,
                  pages, waste, profile, misuse, handlers, accounts, reclaim,
                  actions, pressure, heading['reason'], advice, nodes)


def problems(report):
    """Yields what does not add up."""
    yield from ladder_problems(report)
    yield from row_problems(report)
    yield from account_problems(report)
    yield from route_problems(report)


def route_problems(report):
    routes, ladder = report.routes, report.ladder
    if bool(routes) != ('dead in blocks' in ladder):
        yield f'routes are {routes}, the ladder is {ladder}'
    if not routes:
        return
    for name, row in (('pool', 'all small'), ('bump', 'in blocks'), ('node', 'large')):
        found = report.row(row)
        if (routes[name]['objects'], routes[name]['live'], routes[name]['bytes']) != (found.allocations, found.live, found.live_bytes):
            yield f'the route {name} is {routes[name]}, the row {found}'
    held = {'pool': ladder['in pools'] + ladder['in depots'] + ladder['free in slabs'], 'bump': ladder['dead in blocks'],
            'node': ladder['dirty spans']}
    for name, bytes_held in held.items():
        if routes[name]['held'] != bytes_held:
            yield f'the route {name} holds {routes[name]["held"]}, in the ladder that is {bytes_held}'
    bump = routes['bump']
    if bump['bytes'] + bump['held'] > bump['block_bytes'] or bump['now'] > bump['taken'] or bump['block_bytes'] > bump['limit']:
        yield f'blocks do not fit: {bump}'
    yield from auto_route_problems(report)


REASONS_TO_LEAVE = {'tighter in blocks': 'bump', 'sparse slabs': 'node'}
REASONS_TO_RETURN = {'allocated often': ('bump', 'node'), 'blocks hold more': ('bump',), 'number is steady': ('node',)}
MOVES_SHOWN = 32


def auto_route_problems(report):
    facts = report.auto_routes
    if bool(facts) != (report.options.get('NEBULA_ROUTE') == 'auto'):
        yield f'options are {report.options}, what auto did is {facts}'
    if not facts:
        return
    if len(facts['shown']) != min(facts['moves'], MOVES_SHOWN):
        yield f'{facts["moves"]} moves, and {len(facts["shown"])} are shown'
    at = {}  # the route of each class
    for move in facts['shown']:
        if at.get(move['size'], 'pool') != move['from']:
            yield f'the class was at {at.get(move["size"], "pool")}: {move}'
        at[move['size']] = move['to']
        fits = REASONS_TO_LEAVE.get(move['reason']) == move['to'] if move['from'] == 'pool' else \
            move['to'] == 'pool' and move['from'] in REASONS_TO_RETURN.get(move['reason'], ())
        if not fits or (move['from'] == 'pool' and move['expected'] >= move['held']):
            yield f'the reason does not fit: {move}'
    away = sum(route != 'pool' for route in at.values())
    if facts['moves'] <= MOVES_SHOWN and away != facts['away']:
        yield f'{facts["away"]} classes are said to be away, by the moves {away} are'


def ladder_problems(report):
    ladder = report.ladder
    committed = sum(ladder.get(name, 0) for name in LADDER[:LADDER.index('= committed')])
    if abs(committed - ladder['= committed']) != report.apart:
        yield f'live to metadata are {committed}, committed is {ladder["= committed"]}'
    mapped = ladder['= committed'] + ladder['purged and untouched']
    if mapped != ladder['= mapped']:
        yield f'committed and what is purged and untouched are {mapped}, mapped is {ladder["= mapped"]}'
    if ladder['live'] != report.row('total').live_bytes:
        yield f'live bytes: {ladder["live"]} in the ladder, {report.row("total").live_bytes} in the table of objects'
    for name in ('metadata', '= mapped') + ('= committed',):
        if ladder[name] % PAGE != 0:
            yield f'{name} is no whole number of pages: {ladder[name]}'


def row_problems(report):
    rows = report.rows
    names = [row.name for row in rows]
    classes = [row for row in rows if row.slot_size is not None]
    others = [row for row in rows if row.name.endswith(' others')]
    order = [*(row.name for row in classes), *(row.name for row in others), 'all small', 'large',
             *(['in blocks'] if report.routes else []), *(['in handlers'] if 'in handlers' in names else []), 'total']
    if names != order or len(others) > 1:
        yield f'the rows of objects are in another order than {order}: {names}'
    sizes = [row.slot_size for row in classes]
    if sizes != sorted(set(sizes)):
        yield f'the size classes do not rise: {sizes}'

    for column in ('allocations', 'frees', 'live', 'live_bytes', 'slabs'):
        for name, parts in (('all small', classes + others),
                            ('total', [report.row('all small'), report.row('large'), report.row('in blocks'),
                                     report.row('in handlers')])):
            total = sum(getattr(row, column) for row in parts)
            if total != getattr(report.row(name), column):
                yield f'{column} of {name} is {getattr(report.row(name), column)}, its parts are {total}'
    for row in rows:
        if row.slot_size is not None and row.live_bytes != row.live * row.slot_size:
            yield f'{row.name}: {row.live} live are not {row.live_bytes} bytes'
        if row.slot_size is not None:
            slab = UNITS_OF_SLAB.get(row.slot_size, 1) * UNIT
            used = row.live_bytes * 100 // (row.slabs * slab) if row.slabs else 0
            # What a profile follows lies in no slab.
            if row.used_percent > used or (row.used_percent != used and not report.profile):
                yield f'{row.name}: {row.used_percent} % used, {row.live_bytes} bytes in {row.slabs} slabs are {used} %'
        elif row.used_percent > 100:
            yield f'{row.name}: {row.used_percent} % used'
        if is_still(report) and row.allocations - row.frees != row.live:
            yield f'{row.name}: {row.allocations} allocations − {row.frees} frees are not {row.live} live'


def account_problems(report):
    committed, peak, budget = report.ladder['= committed'], report.peak['committed'], report.budget
    if budget['peak'] != peak:
        yield f'two peaks: {peak} with the ladder, {budget["peak"]} with the budget'
    if report.at_rest and committed > peak:
        yield f'committed is {committed}, above the peak, {peak}'
    if report.peak['in_use'] > peak:
        yield f'peak in use is {report.peak["in_use"]}, above the peak of committed, {peak}'
    in_use = sum(report.ladder[name] for name in ('live', 'in pools', 'in depots'))
    if is_still(report) and in_use > report.peak['in_use']:
        yield f'in use are {in_use}, above the peak in use, {report.peak["in_use"]}'
    used = None if budget['limit'] is None else min(max(0, peak - budget['limit'] + budget['reserve']), budget['reserve'])
    if used is not None and used != budget['reserve_used']:
        yield f'of the reserve {budget["reserve_used"]} bytes are used, the peak is {peak} of {budget["limit"]}'
    if budget['limit'] is not None and peak > budget['limit'] and not report.actions.get('over_limit'):
        yield f'the peak, {peak}, is above the limit, {budget["limit"]}'
    for option, limit in (('NEBULA_BUDGET', 'limit'), ('NEBULA_BUDGET_SOFT', 'soft_limit')):
        if (option in report.options) != (budget[limit] is not None):
            yield f'{option} is {report.options.get(option)} and the {limit.replace("_", " ")} {budget[limit]}'
    for account in report.accounts:
        name = f'the account of {account["kind"]}'
        if account['kind'] == 'threads':
            shown = [one for one in report.accounts if one['kind'] == 'thread']
            if len(shown) != account['shown'] or sum(one['charged'] for one in shown) > account['charged']:
                yield f'{name} does not fit those shown: {account}'
            if account['shown'] == account['count'] and sum(one['charged'] for one in shown) != account['charged']:
                yield f'{name} is not their sum: {account}'
            continue
        over = report.actions.get('over_limit', 0)
        if max(account['charged'], account['peak']) > account['limit'] and over == 0:
            yield f'{name} is above its limit: {account}'
        if account['charged'] > account['peak'] or account.get('share', 0) > account['charged']:
            yield f'{name} does not add up: {account}'
        if (account['refusals'] == 0) != (account['largest_refused'] == 0) or account['hits'] < account['refusals']:
            yield f'{name} has refusals that do not fit: {account}'
    if (budget['refusals'] == 0) != (budget['largest_refused'] == 0):
        yield f'{budget["refusals"]} requests refused, the largest {budget["largest_refused"]} bytes'

    threads = report.threads
    if threads['now'] > threads['started']:
        yield f'{threads["now"]} threads now of {threads["started"]} started'
    if threads['batches_out'] > threads['batches_in']:
        yield f'{threads["batches_out"]} batches out of depots, {threads["batches_in"]} in'
    if is_still(report) and (threads['batches_in'] == threads['batches_out']) != (report.ladder['in depots'] == 0):
        yield f'{threads["batches_in"]} batches in, {threads["batches_out"]} out, and {report.ladder["in depots"]} bytes in depots'
    for name in ('purged', 'moved'):
        if report.pages[name] % PAGE != 0:
            yield f'bytes {name} are no whole number of pages: {report.pages[name]}'
    if report.pages['slab_purged'] > report.pages['purged'] or report.pages['slab_purged'] % PAGE:
        yield f'slabs gave back more than was purged, or no whole pages: {report.pages}'
    if report.options.get('NEBULA_PURGE') == 'never' and report.pages['slab_looks'] != 0:
        yield f'slabs were looked at without a purge: {report.pages}'
    reserve = [report.pages.get(f'reserve_{name}', 0) for name in ('asked', 'obtained', 'touched')]
    if (report.options.get('NEBULA_RESERVE', '0') == '0') != (reserve[0] == 0) or reserve[2] > reserve[1] or reserve[1] > reserve[0] + 65535:
        yield f'the reserve does not add up: {report.pages}'
    if ('hugetlb_asked' in report.pages) != (report.options.get('NEBULA_HUGETLB') == '1'):
        yield f'NEBULA_HUGETLB is {report.options.get("NEBULA_HUGETLB")}, and said is {report.pages}'
    huge = [report.pages.get(f'hugetlb_{part}', 0) for part in ('obtained', 'asked')]
    if huge[0] > huge[1] or huge[0] % REGION or huge[0] > committed or (huge[0] < huge[1]) != (report.pages.get('hugetlb_refusals', 0) > 0):
        yield f'the pool of huge pages does not add up: {report.pages}'
    if ('lock_asked' in report.pages) != (report.options.get('NEBULA_LOCK') == '1'):
        yield f'NEBULA_LOCK is {report.options.get("NEBULA_LOCK")}, and said is {report.pages}'
    asked, obtained = (report.pages.get(f'lock_{part}', 0) for part in ('asked', 'obtained'))
    # With none refused, all that is mapped is locked; what grew while the report was made may be in one number only.
    if obtained > asked or (asked > obtained and report.pages['lock_refusals'] == 0) and is_still(report):
        yield f'what is locked does not add up: {report.pages}'
    if asked not in (0, report.ladder['= mapped']) and is_still(report):
        yield f'{asked} bytes were asked to be locked, {report.ladder["= mapped"]} are mapped'
    kind = report.options.get('NEBULA_PURGE_KIND', 'dontneed')
    if report.pages.get('kind', 'dontneed') != kind:
        yield f'idle memory goes the way of {report.pages}, asked for was {kind}'
    if report.pages.get('advised', 0) % PAGE != 0 or (report.pages.get('advised', 0) != 0 and report.pages['advices'] == 0):
        yield f'advice does not add up: {report.pages}'
    waste = report.waste
    needed = report.ladder['live'] + report.ladder['metadata']
    if waste['external'] != max(0, committed - needed):
        yield f'{waste["external"]} bytes are said to be neither live nor metadata, of {committed} committed, {needed} are'
    if waste['internal'] > report.row('all small').live_bytes:
        yield f'of live slots {waste["internal"]} bytes were not asked for, and {report.row("all small").live_bytes} are live'
    profile = report.profile
    is_wanted = report.options.get('NEBULA_PROFILE', '0') != '0' or report.options.get('NEBULA_LEAKS') == '1'
    if bool(profile) != is_wanted:
        yield f'profile {profile}, options {report.options}'
    if profile:
        yield from profile_problems(report)
    if report.misuse['foreign_to_libc'] > report.misuse['foreign']:
        yield f'{report.misuse["foreign_to_libc"]} of {report.misuse["foreign"]} foreign pointers are libc\'s'


def profile_problems(report):
    profile = report.profile
    if profile['freed'] > profile['samples'] or profile['unplaced'] > profile['samples']:
        yield f'more samples freed or unplaced than there were: {profile}'
    lives = profile['lives']
    if [name for name in NAMES_OF_LIVES if name in lives] != list(lives):
        yield f'lives in another order, or of another length: {list(lives)}'
    for column in ('objects', 'bytes'):
        live, allocated = profile[f'live_{column}'], profile[f'allocated_{column}']
        if live > allocated:
            yield f'{live} {column} live, {allocated} allocated'
        # Each row is rounded for itself.
        by_age = sum(row[f'{column}_live'] for row in lives.values())
        if report.at_rest and abs(by_age - live) > len(lives):
            yield f'{by_age} {column} live by their age, {live} in all'
        by_life = sum(row[f'{column}_freed'] for row in lives.values())
        if report.at_rest and abs(by_life + live - allocated) > len(lives) + 1:
            yield f'{by_life} {column} freed by their lives, {allocated} allocated and {live} live'


def is_still(report):
    """Whether no other thread could move anything while the report was made."""
    return report.at_rest and report.threads['now'] <= 1


def checked(text):
    report = read(text)
    found = list(problems(report))
    if found:
        raise Wrong('\n'.join(found))
    return report
