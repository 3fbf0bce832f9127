#!/usr/bin/python3
"""Real, unmodified programs on the library: `integration.py LIBRARY CASE`, or --list for the names of the cases."""

import argparse
import sys
import tempfile
from pathlib import Path

import budgets
import own_tools
import programs
from workplace import Failure, Workplace, reports

CASES = {**programs.CASES, **budgets.CASES, **own_tools.CASES}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('library', type=Path, nargs='?')
    parser.add_argument('case', choices=CASES, nargs='?')
    parser.add_argument('--list', action='store_true', help='print the names of the cases')
    parser.add_argument('--any-allocator', action='store_true',
                        help='expect no reports: tells whether another library passes the same case')
    arguments = parser.parse_args()
    if arguments.list:
        print(*CASES, sep='\n')
        return 0
    if arguments.case is None:
        parser.error('a library and a case are needed')

    with tempfile.TemporaryDirectory(prefix='nebula-') as folder:
        library = arguments.library.resolve(strict=True)
        keeper = None
        if not arguments.any_allocator:
            keeper = reports.Keeper(library.parent.parent / 'tests/kept/integration' / arguments.case)
        workplace = Workplace(Path(folder), library, keeper)
        try:
            CASES[arguments.case](workplace)
        except Failure as failure:
            print(f'{arguments.case}: {failure}')
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
