"""Real programs with fixed input. What they print must be what they print without any preload.

A program that serves (redis, memcached) is measured alone: its client runs beside it without a preload, and the time is
the client's. Inputs are made once, by bench/real/inputs.py.
"""

import hashlib
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import allocators as known
from runs import Process, Run, RunFailure, run_to_end
from workloads import empty_folder

REAL = Path(__file__).resolve().parents[1] / "real"
sys.path.insert(0, str(REAL))
import inputs as makers  # noqa: E402

SEARCH_PATH = "/usr/bin:/bin"
START_SECONDS = 20


@dataclass
class Program:
    name: str
    measure: Path
    inputs: Path
    command: list  # {inputs} and {real} stand for the folders
    environment: dict = field(default_factory=dict)
    make: Callable | None = None  # makes what the command reads in {inputs}
    figure: Callable[[str], float] | None = None  # the program's own time, in what it prints
    client: Callable[[Path], float] | None = None  # loads a server in its folder, ends it, and tells the time
    others: tuple = ()  # programs needed besides the command
    expected: str | None = None
    kind = "program"

    def prepare(self):
        """What stands in the way of running this, or None."""
        missing = [name for name in (self.command[0], *self.others) if not shutil.which(name, path=SEARCH_PATH)]
        if missing:
            return f"{', '.join(missing)} is not installed"
        if self.make:
            make_once(self.make, self.inputs)
        if self.figure or self.client:
            return None  # what it prints are times
        plain = known.Allocator("no preload", None, "")
        try:
            with empty_folder(None) as folder:
                _, stdout, _ = self._to_end(plain, folder)
                self.expected = digest(stdout)
        except RunFailure as failure:
            return f"does not run without a preload either: {failure}"
        return None

    def run(self, allocator, scratch):
        with empty_folder(scratch) as folder:
            if self.client:
                return self._serve(allocator, folder)
            cost, stdout, _ = self._to_end(allocator, folder)
            if self.expected and digest(stdout) != self.expected:
                raise RunFailure("prints something else than without a preload")
            return Run.of(cost, self.figure and figure_of(self.figure, stdout))

    def _to_end(self, allocator, folder):
        return run_to_end(self.measure, self._command(), self._environment(allocator, folder), folder)

    def _serve(self, allocator, folder):
        with Process(self.measure, self._command(), self._environment(allocator, folder), folder) as server:
            deadline = time.monotonic() + START_SECONDS
            while not (folder / "socket").exists():
                if server.ended() or time.monotonic() > deadline:
                    server.finish()
                    raise RunFailure("the server does not listen")
                time.sleep(0.01)
            try:
                seconds = self.client(folder)
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                if server.ended():
                    server.finish()  # says how it ended
                raise RunFailure(f"the client failed: {error}") from None
            return Run.of(server.finish(), seconds)

    def _command(self):
        words = [word.format(inputs=self.inputs, real=REAL) for word in self.command]
        return [shutil.which(words[0], path=SEARCH_PATH), *words[1:]]

    def _environment(self, allocator, folder):
        return {**allocator.environment(folder), **self.environment}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def figure_of(figure, stdout):
    text = stdout.read_text(errors="replace")
    try:
        return figure(text)
    except ValueError as error:
        raise RunFailure(f"its figures cannot be read: {error} in {text[-300:]!r}") from None


def make_once(make, inputs):
    """An input is there with a mark that is set last: one whose making was interrupted is made again."""
    done = inputs / f".{make.__name__}"
    if done.exists():
        return
    folder = inputs / f"{make.__name__}.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    for path in folder.iterdir():
        shutil.rmtree(inputs / path.name, ignore_errors=True)
        path.rename(inputs / path.name)
    folder.rmdir()
    done.touch()


def redis_client(folder):
    """Seconds for one request of each kind, added up: the sum of the inverse of each throughput."""
    place = ["-s", str(folder / "socket")]
    environment = {"PATH": SEARCH_PATH}
    benchmark = subprocess.run(
        ["redis-benchmark", *place, "-n", "60000", "-c", "20", "-P", "8", "-r", "20000", "-d", "200", "--csv",
         "-t", "set,get,incr,lpush,lpop,sadd,hset,zadd"],
        env=environment, capture_output=True, text=True, check=True, timeout=120)
    subprocess.run(["redis-cli", *place, "shutdown", "nosave"], env=environment, capture_output=True, timeout=20)
    throughputs = [float(number) for number in re.findall(r'^"[^"]+","([\d.]+)"', benchmark.stdout, re.MULTILINE)]
    if len(throughputs) != 8:
        raise ValueError(f"redis-benchmark printed {benchmark.stdout!r}")
    return sum(1 / throughput for throughput in throughputs)


def memcached_client(requests):
    """Sends all requests over one connection while reading the answers, as fast as the server takes them. The two
    run in turn in one thread: a client with threads of its own would be measured rather than the server."""
    def client(folder):
        waiting = memoryview(requests.read_bytes() + b"version\r\n")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(folder / "socket"))
            start = time.monotonic()
            tail = b""
            connection.setblocking(False)
            while b"VERSION " not in tail:  # the answer to the last request
                if waiting:
                    try:
                        waiting = waiting[connection.send(waiting[:65536]):]
                    except BlockingIOError:
                        pass
                try:
                    answer = connection.recv(1 << 20)
                except BlockingIOError:
                    continue
                if not answer:
                    raise OSError("the server closed the connection")
                tail = tail[-20:] + answer[-100:]
            seconds = time.monotonic() - start
            connection.setblocking(True)
            connection.sendall(b"shutdown\r\n")
        return seconds
    return client


def db_bench_figure(text):
    """Seconds for one operation of each benchmark, added up."""
    found = re.findall(r"^\w+\s*:\s*([\d.]+) micros/op", text, re.MULTILINE)
    if len(found) != 2:
        raise ValueError("two benchmarks were expected")
    return sum(map(float, found)) / 1e6


def find(measure, inputs):
    """All programs, whether installed or not."""
    # Inputs that another generator made are none of this one's.
    inputs = inputs / digest(REAL / "inputs.py")[:12]

    def program(name, *command, **options):
        return Program(name, measure, inputs, list(command), **options)

    compile_options = ["-std=c++20", "-O1", "-c", "{real}/templates.cpp", "-o", "templates.o"]
    return [
        # Python keeps small objects in arenas of its own; this sends all of them through malloc.
        program("python", "python3", "-S", "{real}/work.py",
                environment={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        program("g++", "g++", *compile_options),
        program("clang++", "clang++", *compile_options),
        program("make", "make", "--silent", "-j2", "-f", "{inputs}/project/Makefile", make=makers.c_project, others=("gcc",)),
        program("sqlite3", "sqlite3", ":memory:", ".read {inputs}/people.sql", make=makers.sql),
        program("z3", "z3", "{inputs}/product.smt2", make=makers.puzzle),
        program("ghostscript", "gs", "-q", "-dNOPAUSE", "-dBATCH", "-sDEVICE=ppmraw", "-r72", "-sOutputFile=/dev/null",
                "{inputs}/pages.ps", make=makers.postscript),
        program("ruby", "ruby", "{real}/work.rb"),
        program("lua", "lua5.4", "{real}/work.lua"),
        program("perl", "perl", "{real}/work.pl", environment={"PERL_HASH_SEED": "0"}),
        program("git-log", "git", "-C", "{inputs}/repository", "log", "-p", "--stat", make=makers.repository,
                environment={"GIT_PAGER": "cat", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1",
                             "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}),
        program("redis", "redis-server", "--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no",
                client=redis_client, others=("redis-benchmark", "redis-cli")),
        # As root it insists on being told whom to become.
        program("memcached", "memcached", "-s", "socket", "-A", "-t", "2", "-m", "256", "-u", "root",
                make=makers.cache_requests, client=memcached_client(inputs / "cache.requests")),
        program("rocksdb", "db_bench", "--benchmarks=fillrandom,readrandom", "--num=150000", "--value_size=200",
                "--db=db", "--wal_dir=db", "--compression_type=none", "--seed=1", "--threads=1",
                "--write_buffer_size=8388608", figure=db_bench_figure),
    ]
