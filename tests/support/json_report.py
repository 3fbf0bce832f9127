"""The JSON form of a report: that it is what its schema says, and that what it says adds up.

A file holds one report, or a report on each line. `checked(text)` returns the report or raises Wrong.
"""

import json
from pathlib import Path

import jsonschema

from report import UNIT, UNITS_OF_SLAB, Wrong

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / 'src/report/report.schema.json').read_text())
PAGE = 4096
PARTS = ('live_bytes', 'pooled_bytes', 'depot_bytes', 'slab_free_bytes', 'block_dead_bytes', 'dirty_span_bytes', 'metadata_bytes')
OBJECTS = ('allocations', 'frees', 'live', 'live_bytes', 'slabs', 'slab_bytes', 'empty_slabs')


def total(rows, name):
    return sum(row[name] for row in rows)


def differ(what, one, other):
    if one != other:
        yield f'{what}: {one} and {other}'


def problems(report):
    """Yields what does not add up."""
    memory, objects, classes, threads = (report[name] for name in ('memory', 'objects', 'size_classes', 'threads'))
    is_still = report['at_rest'] and threads['now'] <= 1
    apart = abs(sum(memory[part] for part in PARTS) - memory['committed_bytes'])
    yield from differ('committed bytes and their parts are apart by', apart, report['difference_bytes'])
    if report['at_rest'] and apart:
        yield f'at rest, and committed bytes are {apart} apart from their parts'
    yield from differ('mapped', memory['mapped_bytes'], memory['committed_bytes'] + memory['untouched_bytes'])
    yield from differ('live bytes', memory['live_bytes'], objects['total']['live_bytes'])
    for column in OBJECTS:
        yield from differ(f'{column} of small objects', objects['small'][column], total(classes, column))
        yield from differ(f'{column} of all objects', objects['total'][column],
                          sum(objects[kind][column] for kind in ('small', 'large', 'in_blocks', 'in_handlers')))
    sizes = [row['slot_bytes'] for row in classes]
    if sizes != sorted(set(sizes)):
        yield f'the size classes do not rise: {sizes}'
    for row in classes:
        size = row['slot_bytes']
        yield from differ(f'live bytes of size {size}', row['live_bytes'], row['live'] * size)
        yield from differ(f'slab bytes of size {size}', row['slab_bytes'], row['slabs'] * UNITS_OF_SLAB.get(size, 1) * UNIT)
        if is_still:
            yield from differ(f'live of size {size}', row['live'], row['allocations'] - row['frees'])
        if row['empty_slabs'] > row['slabs']:
            yield f'size {size}: {row["empty_slabs"]} empty slabs of {row["slabs"]}'
        if row['internal_waste_bytes'] > row['live_bytes']:
            yield f'size {size}: of {row["live_bytes"]} live bytes {row["internal_waste_bytes"]} were not asked for'
        if row['sampled_request_bytes'] > row['sampled_requests'] * size:
            yield f'size {size}: {row["sampled_requests"]} requests of {row["sampled_request_bytes"]} bytes do not fit'
        if is_still and row['sampled_requests'] > row['allocations']:
            yield f'size {size}: {row["sampled_requests"]} requests noted of {row["allocations"]}'
    yield from bump_problems(report)
    yield from auto_route_problems(report)
    yield from differ('pooled bytes', memory['pooled_bytes'], sum(row['pooled'] * row['slot_bytes'] for row in classes))
    yield from differ('depot bytes', memory['depot_bytes'], sum(row['in_depots'] * row['slot_bytes'] for row in classes))

    heaps = [*report['thread_heaps'], report['other_thread_heaps']]
    direct = report['without_thread_heap']
    yield from differ('heaps', threads['heaps'], len(report['thread_heaps']) + report['other_thread_heaps']['heaps'])
    yield from differ('allocations by heap and by class', total(heaps, 'allocations') + direct['allocations'],
                      objects['small']['allocations'])
    yield from differ('frees by heap and by class', total(heaps, 'frees') + direct['frees'] - report['misused_frees'],
                      objects['small']['frees'])
    yield from differ('pooled bytes by heap and by class', total(heaps, 'pooled_bytes'), memory['pooled_bytes'])
    for column in ('refills', 'flushes'):
        yield from differ(f'{column} of heaps', total(heaps, column), threads[column])
    yield from differ('lock waits', total(classes, 'lock_waits'), threads['lock_waits'])

    fragmentation = report['fragmentation']
    yield from differ('internal fragmentation', fragmentation['internal_bytes'], total(classes, 'internal_waste_bytes'))
    yield from differ('sampled requests', fragmentation['sampled_requests'], total(classes, 'sampled_requests'))
    yield from differ('external fragmentation', fragmentation['external_bytes'],
                      max(0, memory['committed_bytes'] - memory['live_bytes'] - memory['metadata_bytes']))
    if fragmentation['large_granted_bytes'] < fragmentation['large_requested_bytes']:
        yield 'large objects were given less than was asked for'

    budget = report['budget']
    if budget['hard_limit_bytes'] is not None and budget['over_limit'] == 0:
        if memory['committed_peak_bytes'] > budget['hard_limit_bytes']:
            yield f'the peak, {memory["committed_peak_bytes"]}, is above the limit, {budget["hard_limit_bytes"]}'
    if report['at_rest'] and memory['committed_bytes'] > memory['committed_peak_bytes']:
        yield f'committed is {memory["committed_bytes"]}, above its peak, {memory["committed_peak_bytes"]}'
    if memory['committed_peak_at_milliseconds'] > report['elapsed_milliseconds']:
        yield 'the peak is in the future'
    if report['resident_bytes'] is not None and report['resident_bytes'] > report['peak_resident_bytes']:
        yield f'resident are {report["resident_bytes"]} bytes, above their peak, {report["peak_resident_bytes"]}'
    if report['misuse']['foreign_to_libc'] > report['misuse']['foreign_pointers']:
        yield 'more foreign pointers went to libc than there were'
    pages = report['pages']
    if pages['purge_kind'] == 'dontneed' and (pages['advices'], pages['advised_bytes'], pages['advice_refusals']) != (0, 0, 0):
        yield f'advice that nobody asked for: {pages}'
    yield from timeline_problems(report)
    if report['profile'] is not None:
        yield from profile_problems(report['profile'], report['at_rest'])


def profile_problems(profile, at_rest):
    live, allocated = profile['live'], profile['allocated']
    for name in ('freed_samples', 'samples_without_site'):
        if profile[name] > profile['samples']:
            yield f'{name}: {profile[name]} of {profile["samples"]} samples'
    rows = {name: profile[name] for name in ('freed_by_lifetime', 'live_by_age')}
    for name, lives in rows.items():
        ends = [row['below_microseconds'] or 1 << 35 for row in lives]
        if ends != sorted(set(ends)) or any(end.bit_count() != 1 for end in ends):
            yield f'{name} does not rise by powers of two: {ends}'
    for column in ('samples', 'objects', 'bytes'):
        if live[column] > allocated[column]:
            yield f'{live[column]} {column} live, {allocated[column]} allocated'
        sums = {name: total(lives, column) for name, lives in rows.items()}
        rounded = 0 if column == 'samples' else len(rows['live_by_age']) + len(rows['freed_by_lifetime']) + 1
        if at_rest and abs(sums['live_by_age'] - live[column]) > rounded:
            yield f'{column} live: {live[column]}, by their age {sums["live_by_age"]}'
        if at_rest and abs(sums['freed_by_lifetime'] + live[column] - allocated[column]) > rounded:
            yield f'{column} freed: {sums["freed_by_lifetime"]}, with {live[column]} live of {allocated[column]} allocated'
    if at_rest and (allocated['samples'], live['samples']) != (profile['samples'], profile['samples'] - profile['freed_samples']):
        yield f'samples: {profile["samples"]}, {profile["freed_samples"]} freed; by site {allocated["samples"]}, {live["samples"]} live'


def bump_problems(report):
    bump, objects, dead = report['bump'], report['objects']['in_blocks'], report['memory']['block_dead_bytes']
    if objects['live_bytes'] + dead > bump['block_bytes']:
        yield f'{objects["live_bytes"]} live and {dead} dead bytes are more than blocks of {bump["block_bytes"]} bytes'
    if bump['allocated_bytes'] < 16 * objects['allocations'] or objects['live_bytes'] < 16 * objects['live']:
        yield f'objects in blocks are below 16 bytes: {bump}, {objects}'
    if (bump['blocks'] == 0) != (bump['block_bytes'] == 0) or bump['blocks'] > bump['blocks_taken']:
        yield f'blocks do not fit: {bump}'
    if report['at_rest'] and bump['block_bytes'] > bump['limit_bytes']:
        yield f'blocks are above their limit: {bump}'
    if report['at_rest'] and objects['allocations'] - objects['frees'] != objects['live']:
        yield f'objects in blocks do not add up: {objects}'


def auto_route_problems(report):
    facts = report['auto_routes']
    if (facts is not None) != (report['options'].get('NEBULA_ROUTE') == 'auto'):
        yield f'options are {report["options"]}, what auto did is {facts}'
    if facts is None:
        return
    moves = facts['first_moves']
    if len(moves) != min(facts['moves'], 32):
        yield f'{facts["moves"]} moves, and {len(moves)} are told'
    if any(move['at_milliseconds'] > report['elapsed_milliseconds'] for move in moves):
        yield f'moves in the future: {moves}'
    if any(move['from'] == move['to'] or 'pool' not in (move['from'], move['to']) for move in moves):
        yield f'moves that are none: {moves}'


def timeline_problems(report):
    points = report['timeline']
    times = [point['milliseconds'] for point in points]
    if times != sorted(times):
        yield f'the timeline goes back: {times}'
    if times and times[-1] > report['elapsed_milliseconds']:
        yield 'the timeline ends in the future'
    for point in points:
        if point['committed_bytes'] > report['memory']['committed_peak_bytes']:
            yield f'at {point["milliseconds"]} ms {point["committed_bytes"]} were committed, above the peak'
        if point['live_bytes'] > report['memory']['in_use_peak_bytes'] + report['objects']['in_handlers']['live_bytes']:
            yield f'at {point["milliseconds"]} ms {point["live_bytes"]} were live, above the peak in use'


def checked(text):
    try:
        report = json.loads(text)
    except json.JSONDecodeError as error:
        raise Wrong(f'no JSON: {error}') from None
    found = [f'{error.json_path}: {error.message}' for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(report)]
    found = found or list(problems(report))
    if found:
        raise Wrong('\n'.join(found))
    return report


def checked_file(path):
    """The reports of a file, one or one on each line."""
    text = Path(path).read_text(encoding='utf-8')
    if text.startswith('{\n'):
        return [checked(text)]
    if not text.endswith('\n'):
        raise Wrong('the last line is not whole')
    return [checked(line) for line in text.splitlines()]
