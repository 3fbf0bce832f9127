#!/usr/bin/python3
"""What bench/lines.py counts, of a program whose transfers are known: two threads that take turns write to one line 1,000 times each, read
a second one that the other has written, and leave their own lines alone."""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import lines  # noqa: E402

TURNS = 1000
PROGRAM = """
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
enum { kTurns = %d };
struct line { _Alignas(64) _Atomic unsigned long value; };
static struct line turn, written, read_by_one, own[2];
static void* take_turns(void* argument) {
  const unsigned long me = *(const unsigned long*)argument;
  for (unsigned long i = 0; i < kTurns; ++i) {
    while (atomic_load_explicit(&turn.value, memory_order_acquire) %% 2 != me) sched_yield();
    atomic_fetch_add(&written.value, 1);
    own[me].value += 1;
    if (me == 0) read_by_one.value = i;
    else own[me].value += read_by_one.value;
    atomic_fetch_add(&turn.value, 1);
  }
  return 0;
}
int main(void) {
  static unsigned long numbers[2] = {0, 1};
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) pthread_create(&threads[i], 0, take_turns, &numbers[i]);
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], 0);
  return 0;
}
""" % TURNS


def main():
    with tempfile.TemporaryDirectory() as folder:
        source, program, hooks = (Path(folder) / name for name in ("program.c", "program", "hooks.o"))
        source.write_text(PROGRAM)
        lines.run("gcc", "-O2", "-fPIC", "-c", str(HERE / "hooks.c"), "-o", str(hooks))
        lines.run("gcc", "-O2", "-g", "-fsanitize=thread", "-c", str(source), "-o", f"{program}.o")
        lines.run("gcc", "-g", f"{program}.o", str(hooks), "-pthread", "-o", str(program))
        done = subprocess.run([program], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        image, (total, found) = lines.image_of(done.stderr, program), lines.read(done.stderr)
        symbols = lines.Symbols(program)
        counts = {symbols.data(address - image): (reads, writes, places) for address, reads, writes, places in found}
        # The first write is to a line that nobody has.
        assert counts["written"][:2] == (0, 2 * TURNS - 1), counts["written"]
        # Read after each write, and taken back by each write but the first.
        assert counts["read_by_one"][:2] == (TURNS, TURNS - 1), counts["read_by_one"]
        # Who waits for his turn has the line to read, and then to write.
        assert counts["turn"][1] >= 2 * TURNS - 2, counts["turn"]
        assert "own" not in counts, counts
        assert total == (sum(each[0] for each in counts.values()), sum(each[1] for each in counts.values())), total
        assert {symbols.place(where).split(" ")[0] for where, _ in counts["written"][2]} == {"take_turns"}, counts["written"]
    print("lines: passed")


if __name__ == "__main__":
    main()
