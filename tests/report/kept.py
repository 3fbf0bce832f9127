#!/usr/bin/python3
"""After all suites: that each of them has kept the reports it should, in every form, of threads that raced and of programs that were
killed in the middle, and that one checker finds all of them right. Each was checked in its own test, too, where it is told apart.

    kept.py FOLDER SUITE…    FOLDER/SUITE/TEST/… is what tests/support/reports.py has kept; removed when all is right
"""

import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import reports  # noqa: E402

# By suite, the forms that must be there.
EXPECTED = {
    "hazard": {"text"},
    "integration": {"text"},
    "misuse": {"text"},
    "numa": {"text"},
    "profile": {"text", "json", "prometheus", "lines", "pprof", "collapsed"},
    "report": set(reports.KINDS),
    "tool": {"text", "json", "html", "pprof", "collapsed"},
}


def main(folder, suites):
    wrong, counts, situations = [], Counter(), Counter()
    for suite in suites:
        files = sorted(path for path in (folder / suite).rglob("*") if path.is_file())
        for path in files:
            try:
                reports.checked(path.read_bytes(), path.suffix[1:])
            except reports.Wrong as problem:
                wrong.append(f"{path}: {problem}")
            situations.update(path.name.split(".")[1:-1])
        kinds = Counter(path.suffix[1:] for path in files)
        counts.update(kinds)
        print(f"{suite}: {len(files)} reports of {len({path.parent for path in files})} tests: {dict(kinds)}")
        for kind in sorted(EXPECTED[suite] - set(kinds)):
            wrong.append(f"{suite} has kept no report of form {kind}: it has not run, or its reports are not seen")
    for situation in ("racing", "killed"):
        if not situations[situation]:
            wrong.append(f"no report of a program with threads that raced, or that was killed: {dict(situations)}")
    print(f"together {sum(counts.values())}: {dict(counts)}, {dict(situations)}")
    for words in wrong:
        print(words)
    if wrong:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
