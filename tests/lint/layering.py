"""Holds the source tree to what it says of itself: the layering of src/meson.build, the tables and paths of the READMEs."""

import argparse
import re
import sys
from pathlib import Path

MOST_LINES = 700
SOURCES = {".cpp", ".hpp", ".c", ".h"}


def rooms(root):
    """The rooms in the order of src/meson.build: each may include itself and what stands before it."""
    found = re.findall(r"^subdir\('(\w+)'\)", (root / "src/meson.build").read_text(), re.MULTILINE)
    if not found:
        raise SystemExit("src/meson.build has no subdir() lines")
    return found


def sources(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in SOURCES)


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def layering(root):
    """A file includes only its own room and rooms above it; every folder of src is a room."""
    order = rooms(root)
    folders = {path.name for path in (root / "src").iterdir() if path.is_dir()}
    for name in sorted(folders ^ set(order)):
        yield f"src/{name}: a folder and no subdir() line, or the other way round"
    for room in order:
        allowed = set(order[: order.index(room) + 1])
        for path in sources(root / "src" / room):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not match:
                    continue
                target = match[1]
                where = f"{path.relative_to(root)}:{number}: includes {target}"
                if "/" not in target or target.split("/")[0] not in order:
                    yield f"{where}, which is in no room (write room/file.hpp)"
                elif target.split("/")[0] not in allowed:
                    yield f"{where}, but {target.split('/')[0]} is below {room} in src/meson.build"
                elif not any((root / "src" / place).is_file() for place in (target, target + ".in")):
                    yield f"{where}, which does not exist"


def system_calls(root):
    """Only src/os names the kernel's requests or calls them."""
    pattern = re.compile(r"\b(?:SYS_\w+|__NR_\w+|syscall|system_call)\b|sys/syscall\.h|sys/mman\.h")
    for path in sources(root / "src") + sources(root / "preload"):
        if path.is_relative_to(root / "src/os"):
            continue
        for match in pattern.finditer(without_comments(path.read_text())):
            yield f"{path.relative_to(root)}: {match[0]} belongs in src/os"


def room_table(root):
    """src/README.md lists the same rooms in the same order."""
    text = (root / "src/README.md").read_text()
    section = re.search(r"^## Rooms\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not section:
        yield "src/README.md has no section Rooms"
        return
    listed = [name for name in re.findall(r"^\| (\w+) \|", section[1], re.MULTILINE) if name != "room"]
    if listed != rooms(root):
        yield f"src/README.md lists {' '.join(listed)}; src/meson.build has {' '.join(rooms(root))}"


def paths(root):
    """Every path in backticks that names a place of this tree exists."""
    top = {path.name for path in root.iterdir()} - {"build"}
    for readme in ("README.md", "src/README.md"):
        file = root / readme
        if not file.is_file():
            continue
        text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
        for quoted in re.findall(r"`([^`\n]+)`", text):
            path = quoted.rstrip("/")
            if not re.fullmatch(r"[\w.*/-]+", path) or path.startswith("/"):
                continue
            is_ours = path.split("/")[0] in top if "/" in path else quoted.endswith("/")
            places = [root, file.parent]
            if is_ours and not any(list(place.glob(path)) for place in places):
                yield f"{readme}: {quoted} does not exist"


def options(root):
    """Name and default of each entry of kOptions."""
    text = (root / "src/config/config.cpp").read_text()
    constants = dict(re.findall(r'constexpr const char\* (\w+) = "([^"]*)";', text))
    table = re.search(r"kOptions\[\] = \{(.*?)^\};", text, re.MULTILINE | re.DOTALL)
    literal = r'(?:"((?:[^"\\]|\\.)*)"|(\w+))'
    found = []
    for match in re.finditer(r'\{"(NEBULA_\w+)",\s*' + literal + r",\s*" + literal, table[1] if table else ""):
        default = match[4] if match[4] is not None else constants.get(match[5], match[5])
        found.append((match[1], default))
    return found


def variables(root):
    """README.md's table of variables is the option table: the same names in the same order with the same defaults."""
    found = options(root)
    if len(found) < 2:
        yield "src/config/config.cpp: kOptions was not understood"
        return
    readme = root / "README.md"
    if not readme.is_file():
        yield "README.md is missing"
        return
    rows = []
    default_column = None
    for line in readme.read_text().splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        if line.lstrip().startswith("|") and "default" in [cell.lower() for cell in cells]:
            default_column = [cell.lower() for cell in cells].index("default")
        name = re.match(r"NEBULA_\w+", cells[0])
        if line.lstrip().startswith("|") and name:
            rows.append((name[0], cells[default_column] if default_column is not None else ""))
    if [name for name, _ in rows] != [name for name, _ in found]:
        yield f"README.md lists {[name for name, _ in rows]}; src/config/config.cpp has {[name for name, _ in found]}"
        return
    for (name, written), (_, default) in zip(rows, found):
        if written != default:
            yield f"README.md: the default of {name} is {default!r}, not {written!r}"


def lengths(root):
    """A file that has outgrown a sitting wants to be two."""
    for path in sources(root / "src") + sources(root / "preload"):
        count = len(path.read_text().splitlines())
        if count >= MOST_LINES:
            yield f"{path.relative_to(root)} has {count} lines; the most is {MOST_LINES}"


CHECKS = {check.__name__: check for check in (layering, system_calls, room_table, paths, variables, lengths)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--list", action="store_true", help="print the names of the checks")
    parser.add_argument("checks", nargs="*", choices=[[], *CHECKS], help="all when none is named")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CHECKS))
        return 0
    wrong = [words for name in arguments.checks or CHECKS for words in CHECKS[name](arguments.root)]
    for words in wrong:
        print(words)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
