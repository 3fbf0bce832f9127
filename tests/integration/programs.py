"""The programs that must work on the library exactly as they do without it. One case is one meson test."""

import random
import re
import subprocess

from workplace import WORKLOADS, program

CASES = {}


def case(function):
    CASES[function.__name__.replace('_', '-')] = function
    return function


def without_times(text):
    """Numbers, and the spaces around them whose count depends on them, are what differs from one run to the next."""
    return re.sub(r'[\s\d.]+k?', ' # ', text)


def python_test_results(text):
    """What Python's own test runner says about each test file, without clock, load and duration."""
    said = re.findall(r'test_\w+(?: \w+)*|tests? OK|Result: \w+', text)
    return '\n'.join(said)


def write_random_lines(path, megabytes, seed):
    chance = random.Random(seed)
    with path.open('wb') as file:
        for _ in range(megabytes):
            digits = chance.randbytes(500_000).hex()
            width = chance.randrange(8, 60)
            lines = '\n'.join(digits[at:at + width] for at in range(0, len(digits), width))
            file.write(lines.encode() + b'\n')


def write_tree(folder, seed):
    """A few hundred files of many sizes, compressible and not, in nested folders, with links."""
    chance = random.Random(seed)
    for number in range(300):
        place = folder / f'{number % 7}' / f'{number % 31}'
        place.mkdir(parents=True, exist_ok=True)
        size = chance.choice((0, 10, 1_000, 30_000, 300_000))
        contents = chance.randbytes(size) if number % 2 else b'the same line again\n' * (size // 20)
        (place / f'file-{number}').write_bytes(contents)
    (folder / 'link').symlink_to('0/0/file-0')


@case
def python(workplace):
    work = ['/usr/bin/python3', WORKLOADS / 'work.py']
    workplace.compare(work, reports=['python3'])
    # Python keeps small objects in arenas of its own; this sends all of them through malloc.
    workplace.compare(work, reports=['python3'], environment={'PYTHONMALLOC': 'malloc'})


@case
def python_own_tests(workplace):
    workplace.compare(['/usr/bin/python3', '-m', 'test', 'test_json', 'test_list', 'test_dict', 'test_threading'],
                      reports=['python3'], environment={'PYTHONMALLOC': 'malloc'}, view=python_test_results)


@case
def gcc(workplace):
    workplace.compare(['g++', '-std=c++20', '-O2', '-g', '-c', WORKLOADS / 'work.cpp', '-o', 'work.o'],
                      ['g++', 'work.o', '-o', 'work'], ['./work'],
                      reports=['g++', 'cc1plus', 'as', 'collect2', 'ld', 'work'])


@case
def clang(workplace):
    workplace.compare(['clang++', '-std=c++20', '-O2', '-g', '-c', WORKLOADS / 'work.cpp', '-o', 'work.o'],
                      ['clang++', 'work.o', '-o', 'work'], ['./work'],
                      reports=['clang++', 'ld', 'work'])


BUMPED = {'NEBULA_ROUTE': 'bump', 'NEBULA_BUDGET': '1G'}


@case
def gcc_bumped(workplace):
    workplace.compare(['g++', '-std=c++20', '-O2', '-g', '-c', WORKLOADS / 'work.cpp', '-o', 'work.o'],
                      ['g++', 'work.o', '-o', 'work'], ['./work'],
                      reports=['g++', 'cc1plus', 'as', 'collect2', 'ld', 'work'], environment=BUMPED)


@case
def python_bumped(workplace):
    workplace.compare(['/usr/bin/python3', WORKLOADS / 'work.py'], reports=['python3'],
                      environment={**BUMPED, 'PYTHONMALLOC': 'malloc', 'NEBULA_BUDGET': '200M', 'NEBULA_ROUTE_BUMP_LIMIT': '16M'})


def write_repository(folder, seed, commits=400):
    """A bare repository, made in one go by fast-import: a few files that change a little with each commit."""
    chance = random.Random(seed)
    files = {f'folder{number % 5}/file{number}.txt': [f'line {line}' for line in range(200)] for number in range(40)}
    stream = []
    for commit in range(commits):
        message = f'Change {commit}\n'
        stream.append(f'commit refs/heads/main\ncommitter A Person <person@example.org> {1_700_000_000 + commit * 60} '
                      f'+0000\ndata {len(message)}\n{message}')
        for name in files if commit == 0 else chance.sample(sorted(files), 3):
            lines = files[name]
            lines[chance.randrange(len(lines))] = f'changed by {commit}: {chance.random()}'
            lines.insert(chance.randrange(len(lines)), 'added ' * chance.randrange(10))
            contents = '\n'.join(lines) + '\n'
            stream.append(f'M 100644 inline {name}\ndata {len(contents)}\n{contents}')
    subprocess.run([program('git'), 'init', '--quiet', '--bare', '--initial-branch=main', folder], check=True)
    subprocess.run([program('git'), '-C', folder, 'fast-import', '--quiet'], check=True,
                   input='\n'.join(stream).encode())


@case
def git(workplace):
    repository = workplace.inputs / 'repository'
    write_repository(repository, seed=1)
    # --no-local goes through pack-objects and index-pack instead of linking files. What lies in .git holds times and
    # depends on the order in which git's threads finish.
    workplace.compare(['git', 'clone', '--quiet', '--no-local', repository, 'clone'],
                      ['git', '-C', 'clone', 'log', '-p', '--stat'],
                      ['git', '-C', 'clone', 'blame', 'folder0/file0.txt'],
                      ['git', '-C', 'clone', 'repack', '-a', '-d', '-f', '--quiet', '--threads=2'],
                      ['git', '-C', 'clone', 'fsck', '--full', '--no-progress'],
                      ['git', '-C', 'clone', 'diff', '--stat', 'HEAD~300'],
                      ignore=['clone/.git/*'], reports=['git'])


@case
def sort(workplace):
    lines = workplace.inputs / 'lines'
    write_random_lines(lines, megabytes=100, seed=2)
    for options in ([], ['--parallel=2'], ['--buffer-size=50M']):
        workplace.compare(['sort', *options, lines], reports=['sort'], environment={'LC_ALL': 'C'})


SQL = '''
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, score REAL, note BLOB);
WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 200000)
  INSERT INTO person SELECT n, 'name' || (n * 7919 % 100003), n * 0.37 % 11, zeroblob(n % 50) FROM counter;
CREATE INDEX by_name ON person(name);
CREATE INDEX by_score ON person(score, name);
SELECT count(*), sum(score), max(name) FROM person;
SELECT name, count(*) FROM person GROUP BY name HAVING count(*) > 1 ORDER BY name LIMIT 20;
SELECT a.name, b.score FROM person a JOIN person b ON b.name = a.name AND b.id > a.id ORDER BY 1, 2 LIMIT 20;
SELECT substr(group_concat(name), 1, 200) FROM (SELECT name FROM person ORDER BY score DESC, name LIMIT 5000);
UPDATE person SET note = zeroblob(3000) WHERE id % 100 = 0;
DELETE FROM person WHERE id % 3 = 0;
VACUUM;
PRAGMA integrity_check;
'''


@case
def sqlite(workplace):
    statements = workplace.inputs / 'statements.sql'
    statements.write_text(SQL)
    workplace.compare(['sqlite3', 'people.db', f'.read {statements}'],
                      ['sqlite3', 'people.db', '.dump person'], reports=['sqlite3'])


@case
def perl(workplace):
    workplace.compare(['perl', WORKLOADS / 'work.pl'], reports=['perl'])


@case
def bash(workplace):
    workplace.compare(['bash', WORKLOADS / 'work.sh'], reports=['bash', 'sort', 'seq', 'sed', 'awk', 'grep'])


@case
def node(workplace):
    workplace.compare(['node', WORKLOADS / 'work.js'], reports=['node'])


@case
def redis(workplace):
    workplace.compare(['bash', WORKLOADS / 'redis.sh'], reports=['redis-server', 'redis-benchmark', 'redis-cli'],
                      ignore=['dump.rdb'])


@case
def xz(workplace):
    data = workplace.inputs / 'data'
    write_random_lines(data, megabytes=6, seed=3)
    workplace.compare(['xz', '-T2', '-2', '--block-size=2MiB', '--keep', '--stdout', data],
                      ['bash', '-c', f'xz -T2 -2 --block-size=2MiB <{data} >data.xz'],
                      ['xz', '-T2', '--decompress', '--keep', 'data.xz'],
                      ['cmp', 'data', data], reports=['xz'])


@case
def tar(workplace):
    tree = workplace.inputs / 'tree'
    write_tree(tree, seed=4)
    workplace.compare(['tar', '--create', '--sort=name', '--file=tree.tar', f'--directory={tree.parent}', tree.name],
                      ['tar', '--list', '--verbose', '--file=tree.tar'],
                      ['tar', '--extract', '--file=tree.tar'],
                      ['diff', '--recursive', '--no-dereference', 'tree', tree],
                      ['tar', '--compare', '--file=tree.tar', f'--directory={tree.parent}'],
                      ['bash', '-c', 'tar --create --sort=name tree | gzip -n >tree.tar.gz'],
                      reports=['tar', 'gzip', 'diff'])


@case
def openssl(workplace):
    data = workplace.inputs / 'data'
    write_random_lines(data, megabytes=16, seed=5)
    workplace.compare(['openssl', 'dgst', '-sha256', '-r', data],
                      ['openssl', 'dgst', '-sha3-512', '-r', data],
                      ['openssl', 'enc', '-aes-256-cbc', '-pbkdf2', '-k', 'secret', '-S', '0011223344556677', '-in', data,
                       '-out', 'data.enc'],
                      ['openssl', 'enc', '-d', '-aes-256-cbc', '-pbkdf2', '-k', 'secret', '-S', '0011223344556677',
                       '-in', 'data.enc', '-out', 'data'],
                      reports=['openssl'])
    workplace.compare(['openssl', 'speed', '-seconds', '1', '-bytes', '1024', 'sha256'],
                      ['openssl', 'speed', '-seconds', '1', '-multi', '2', '-bytes', '1024', 'sha256'],
                      reports=['openssl'], view=without_times)
