"""pprof's profile.proto, as far as Nebula writes it: read strictly, so that every field is known and every reference leads
somewhere."""

import gzip
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")]


class Wrong(Exception):
    """What is wrong with a profile."""


@dataclass
class Mapping:
    start: int
    end: int
    offset: int
    path: str
    build_id: str


@dataclass
class Sample:
    locations: list  # ids, from the inside out
    alloc_objects: int
    alloc_space: int
    inuse_objects: int
    inuse_space: int


@dataclass(frozen=True)
class Line:
    """A function at a location, and where in its file."""

    name: str
    system_name: str
    file: str
    line: int
    start_line: int


@dataclass
class Profile:
    period: int
    comment: str
    duration: int
    time: int
    mappings: dict  # by id, in the order of the file
    locations: dict  # id: (mapping id, address)
    samples: list = field(default_factory=list)
    lines: dict = field(default_factory=dict)  # of locations that a tool has given names: [Line], the innermost first

    def stack(self, sample):
        """The names of a sample's functions, the innermost first; an address where there is none."""
        return [line.name if line else hex(self.locations[location][1]) for location in sample.locations
                for line in self.lines.get(location) or [None]]

    def total(self, name):
        return sum(getattr(sample, name) for sample in self.samples)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, value) of each field; the value is an int or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            if at + length > len(data):
                raise Wrong("a field ends behind its message")
            value, at = data[at:at + length], at + length
        else:
            raise Wrong(f"field {key >> 3} has wire type {key & 7}")
        yield key >> 3, value


def numbers(data):
    at, result = 0, []
    while at < len(data):
        value, at = varint(data, at)
        result.append(value)
    return result


def lines_of(groups, words):
    functions = {}
    for message in groups.get(5, []):
        parts = dict(fields(message))
        if parts[1] in functions or not words[parts[2]]:
            raise Wrong(f"function {parts}")
        functions[parts[1]] = (words[parts[2]], words[parts.get(3, 0)], words[parts.get(4, 0)], parts.get(5, 0))
    lines, met = {}, set()
    for message in groups.get(4, []):
        for number, value in fields(message):
            if number == 4:
                parts = dict(fields(value))
                name, system_name, file, start_line = functions[parts[1]]
                lines.setdefault(dict(fields(message))[1], []).append(Line(name, system_name, file, parts.get(2, 0), start_line))
                met.add(parts[1])
    if met != set(functions):
        raise Wrong(f"functions at no location: {set(functions) - met}")
    return lines


def read(path, has_names=False):
    """A profile as the library writes it, or as `nebula symbolize` does."""
    return read_bytes(Path(path).read_bytes(), has_names)


def read_bytes(data, has_names=False):
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)  # checks length and checksum
    groups = {}
    for number, value in fields(data):
        groups.setdefault(number, []).append(value)
    unknown = set(groups) - {1, 2, 3, 4, 6, 9, 10, 11, 12, 13, 14} - ({5} if has_names else set())
    if unknown:
        raise Wrong(f"unknown fields {sorted(unknown)}")
    words = [word.decode() for word in groups[6]]
    if words[0]:
        raise Wrong(f"the first string is {words[0]!r}")

    def value_type(message):
        parts = dict(fields(message))
        return words[parts[1]], words[parts[2]]

    if [value_type(message) for message in groups[1]] != SAMPLE_TYPES:
        raise Wrong(f"sample types {[value_type(message) for message in groups[1]]}")
    if value_type(groups[11][0]) != ("space", "bytes") or words[groups[14][0]] != "inuse_space":
        raise Wrong("period type or default sample type")
    mappings = {}
    for message in groups.get(3, []):
        parts = dict(fields(message))
        if parts[1] in mappings or not parts[2] < parts[3]:
            raise Wrong(f"mapping {parts}")
        mappings[parts[1]] = Mapping(parts[2], parts[3], parts.get(4, 0), words[parts[5]], words[parts[6]])
    locations = {}
    for message in groups.get(4, []):
        parts = dict(fields(message))
        mapping = parts.get(2, 0)
        if parts[1] in locations or (mapping and not mappings[mapping].start <= parts[3] < mappings[mapping].end):
            raise Wrong(f"location {parts}")
        locations[parts[1]] = (mapping, parts[3])
    comment = groups[13][0] if isinstance(groups[13][0], int) else numbers(groups[13][0])[0]
    profile = Profile(groups[12][0], words[comment], groups[10][0], groups[9][0], mappings, locations)
    profile.lines = lines_of(groups, words)
    for message in groups.get(2, []):
        parts = dict(fields(message))
        values = numbers(parts[2])
        if len(values) != 4:
            raise Wrong(f"a sample has {len(values)} values")
        sample = Sample(numbers(parts[1]), *values)
        if any(location not in locations for location in sample.locations):
            raise Wrong(f"a sample's location is none: {sample}")
        if sample.inuse_objects > sample.alloc_objects or sample.inuse_space > sample.alloc_space:
            raise Wrong(f"more in use than was allocated: {sample}")
        profile.samples.append(sample)
    return profile


def function_names(path):
    """{address: the innermost function there}, of a profile that a tool has given symbols."""
    groups = {}
    for number, value in fields(gzip.decompress(Path(path).read_bytes())):
        groups.setdefault(number, []).append(value)
    words = [word.decode() for word in groups[6]]
    functions = {parts[1]: words[parts.get(2, 0)] for parts in (dict(fields(message)) for message in groups.get(5, []))}
    names = {}
    for message in groups.get(4, []):
        lines = [value for number, value in fields(message) if number == 4]
        if lines:
            names[dict(fields(message))[3]] = functions[dict(fields(lines[0]))[1]]
    return names
