#!/usr/bin/python3
"""nebula_thread_flush finds a double free in the pool, names it and ends the program. double_free.py LIBRARY PROGRAM"""

import os
import re
import signal
import subprocess
import sys

library, program = sys.argv[1:]
done = subprocess.run([program, 'double-free'], env={**os.environ, 'LD_PRELOAD': library}, capture_output=True, text=True)
wanted = r'nebula: double free of 0x[0-9a-f]+: slot \d+ of a 64-byte slab, free already.*\n'
if done.returncode != -signal.SIGABRT or not re.fullmatch(wanted, done.stderr):
    sys.exit(f'ended with {done.returncode}, not by SIGABRT with {wanted!r}:\n{done.stderr}')
