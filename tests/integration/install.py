#!/usr/bin/python3
"""`meson install` into an empty root: the library, the headers and the pkg-config file are there, and a C program and a C++
program build with what pkg-config says of them and run; the command finds the library beside it. install.py BUILD_FOLDER MESON"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'support'))
import reports  # noqa: E402

PROGRAM = r"""
#include <nebula/nebula.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  void *object = malloc(100);
  if (object == NULL || !nebula_version) return 1;
  puts(nebula_version());
  free(object);
  return 0;
}
"""

PROGRAM_OF_TYPES = r"""
#include <nebula/nebula.hpp>
int main() {
  nebula::Arena arena;
  return *arena.make<int>(0);
}
"""


def run(*command, **variables):
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f'{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}')
    return done.stdout


def found(root, name):
    paths = [path for path in root.rglob(name) if path.is_file()]
    if len(paths) != 1:
        sys.exit(f'{name} is installed as {paths}')
    return paths[0]


def main(build, meson):
    with tempfile.TemporaryDirectory(prefix='nebula-install-') as folder:
        root = Path(folder) / 'root'
        run(meson, 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', str(root))
        library, package = found(root, 'libnebula.so'), found(root, 'nebula.pc')
        for header in ('nebula.h', 'nebula.hpp'):
            if found(root, header).parent.name != 'nebula':
                sys.exit(f'{header} is not in a folder of its own')
        pkg_config = {'PKG_CONFIG_PATH': str(package.parent), 'PKG_CONFIG_SYSROOT_DIR': str(root), 'LD_PRELOAD': ''}
        flags = run('pkg-config', '--cflags', '--libs', 'nebula', **pkg_config).split()
        source, program = Path(folder) / 'program.c', Path(folder) / 'program'
        source.write_text(PROGRAM)
        run('cc', '-Wall', '-Werror', '-o', str(program), str(source), *flags)
        environment = {'LD_LIBRARY_PATH': str(library.parent), 'NEBULA_STATS': '1',
                       'NEBULA_STATS_FILE': str(Path(folder) / 'report')}
        version = run(str(program), **environment).strip()
        types = Path(folder) / 'types.cpp'
        types.write_text(PROGRAM_OF_TYPES)
        run('c++', '-std=c++20', '-Wall', '-Werror', '-o', str(Path(folder) / 'types'), str(types), *flags)
        run(str(Path(folder) / 'types'), LD_LIBRARY_PATH=str(library.parent))
        if version != run('pkg-config', '--modversion', 'nebula', **pkg_config).strip():
            sys.exit(f'the library is version {version}, pkg-config says otherwise')
        command = next(root.rglob('bin/nebula'))
        said = run(str(command), 'run', '--banner', '--', 'sh', '-c', 'exec 2>&1; exec printenv LD_PRELOAD')
        if f'{library}\n' not in said or f'nebula: {version} serves printenv' not in said:
            sys.exit('the installed command does not run programs on the installed library')
        for name in ('nebula.bash', '_nebula'):
            found(root, name)
        if not (Path(folder) / 'report').exists():
            sys.exit('a program that is linked with the library writes no report')
        reports.checked((Path(folder) / 'report').read_bytes(), 'text')


if __name__ == '__main__':
    main(*sys.argv[1:])
