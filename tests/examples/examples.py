#!/usr/bin/python3
"""The examples, with and without the preload: what they print, and that they end well. examples.py LIBRARY PROGRAM"""

import os
import subprocess
import sys
from pathlib import Path

PRINTED = {
    'basic': ('done, without Nebula\n',
              'the operation keeps 1000 objects, 32000 bytes\n'
              '100 MiB are refused under a budget of 64 MiB more\n'
              'free memory went back to the system\n'),
    'request_arena': ('this example needs libnebula.so\n',
                      'request 1\n  path is /\n  host is example.org\nrequest 2\n  refused\n'
                      'request 3\n  language is en\n  path is /news\n  host is example.org\n'
                      '0 objects are left, 64 KiB are held for the next request\n'),
    'struct_pool': ('this example needs libnebula.so\n', 'the smallest is 400\n600 nodes, 32 bytes each\n'),
    'budget_workflow': ('this example needs libnebula.so\n',
                        'a job of 4 MiB in 1 piece: done\na job of 20 MiB in 1 piece: done\n'
                        'a job of 64 MiB in 4 pieces: done\nthe budget was kept\n'),
}

library, program = sys.argv[1:]
for expected, preload in zip(PRINTED[Path(program).name.removeprefix('example_')], ('', library)):
    done = subprocess.run([program], env={**os.environ, 'LD_PRELOAD': preload}, capture_output=True, text=True)
    if done.returncode != 0 or done.stdout != expected:
        sys.exit(f'LD_PRELOAD={preload}: ended with {done.returncode} and printed\n{done.stdout}{done.stderr}not\n{expected}')
