"""Makes the inputs of real programs that are too large, or too dull, to be kept as files. The same ones every time."""

import random
import subprocess

SQL = """
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, score REAL, note BLOB);
WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 150000)
  INSERT INTO person SELECT n, 'name' || (n * 7919 % 100003), n * 0.37 % 11, zeroblob(n % 50) FROM counter;
CREATE INDEX by_name ON person(name);
SELECT count(*), round(sum(score)), max(name) FROM person;
SELECT name, count(*) FROM person GROUP BY name HAVING count(*) > 1 ORDER BY name LIMIT 20;
SELECT a.name, b.score FROM person a JOIN person b ON b.name = a.name AND b.id > a.id ORDER BY 1, 2 LIMIT 20;
SELECT length(group_concat(name)) FROM (SELECT name FROM person ORDER BY score DESC, name LIMIT 50000);
UPDATE person SET note = zeroblob(3000) WHERE id % 100 = 0;
DELETE FROM person WHERE id % 3 = 0;
"""

POSTSCRIPT = """%!PS
/state 7 def
/chance { /state state 1103 mul 12345 add 65536 mod def state exch mod } bind def
/Times-Roman findfont 9 scalefont setfont
1 1 PAGES {
  /page exch def
  1 1 60 { /line exch def 40 line 12 mul moveto (page ) show page 10 string cvs show
    1 1 12 { pop ( ) show 30000 chance 10 string cvs show } for } for
  1 1 150 { pop newpath 600 chance 800 chance moveto
    6 { 600 chance 800 chance 600 chance 800 chance 600 chance 800 chance curveto } repeat
    closepath 100 chance 100 div 100 chance 100 div 100 chance 100 div setrgbcolor
    2 chance 0 eq { eofill } { stroke } ifelse } for
  /table 500 dict def
  1 1 2000 { 20 mod /number exch def table 400 chance number array put } for
  0 setgray showpage
} for
(done ) print PAGES =
"""


def sql(folder):
    (folder / "people.sql").write_text(SQL)


def postscript(folder):
    (folder / "pages.ps").write_text(POSTSCRIPT.replace("PAGES", "12"))


def puzzle(folder, width=8):
    """Bit-vectors: a product is the same both ways round, and so is one that is added up by hand; unsatisfiable."""
    bits = "\n".join(f"(define-fun part{bit} () (_ BitVec {width}) (ite (= ((_ extract {bit} {bit}) y) #b1) "
                     f"(bvshl x (_ bv{bit} {width})) (_ bv0 {width})))" for bit in range(width))
    total = "part0"
    for bit in range(1, width):
        total = f"(bvadd {total} part{bit})"
    (folder / "product.smt2").write_text(
        f"(set-logic QF_BV)\n(declare-const x (_ BitVec {width}))\n(declare-const y (_ BitVec {width}))\n{bits}\n"
        f"(assert (or (not (= (bvmul x y) (bvmul y x))) (not (= {total} (bvmul y x)))))\n(check-sat)\n")


def repository(folder, commits=1200):
    """A bare repository, made in one go by fast-import: a few files that change a little with each commit."""
    chance = random.Random(1)
    files = {f"folder{number % 5}/file{number}.txt": [f"line {line}" for line in range(300)] for number in range(40)}
    stream = []
    for commit in range(commits):
        message = f"Change {commit}\n"
        stream.append(f"commit refs/heads/main\ncommitter A Person <person@example.org> {1_700_000_000 + commit * 60} "
                      f"+0000\ndata {len(message)}\n{message}")
        for name in files if commit == 0 else chance.sample(sorted(files), 4):
            lines = files[name]
            lines[chance.randrange(len(lines))] = f"changed by {commit}: {chance.random()}"
            lines.insert(chance.randrange(len(lines)), "added " * chance.randrange(10))
            contents = "\n".join(lines) + "\n"
            stream.append(f"M 100644 inline {name}\ndata {len(contents)}\n{contents}")
    place = folder / "repository"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", place], check=True)
    subprocess.run(["git", "-C", place, "fast-import", "--quiet"], check=True, input="\n".join(stream).encode())


def c_project(folder, files=16):
    """Small C files with a header each, and a Makefile that builds wherever it is run: make -f PATH/Makefile."""
    place = folder / "project"
    place.mkdir()
    names = [f"part{number}" for number in range(files)]
    for number, name in enumerate(names):
        (place / f"{name}.h").write_text(f"struct {name} {{ int key; char text[{number + 8}]; }};\n"
                                         f"int {name}(const char* text);\n")
        functions = "\n".join(
            f"static int step{step}(struct {name}* it, const char* text)\n{{\n  int sum = {step};\n"
            f"  for (const char* c = text; *c; ++c) sum = sum * 31 + (*c ^ it->key);\n"
            f"  snprintf(it->text, sizeof it->text, \"%d\", sum);\n  return sum + (int)strlen(it->text);\n}}"
            for step in range(20))
        sums = " + ".join(f"step{step}(&it, text)" for step in range(20))
        (place / f"{name}.c").write_text(
            f"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include \"{name}.h\"\n\n{functions}\n\n"
            f"int {name}(const char* text)\n{{\n  struct {name} it = {{.key = {number}}};\n  return {sums};\n}}\n")
    includes = "\n".join(f'#include "{name}.h"' for name in names)
    sums = " + ".join(f'(unsigned){name}("text")' for name in names)
    (place / "main.c").write_text(f"#include <stdio.h>\n{includes}\n\nint main(void)\n{{\n"
                                  f'  printf("%u\\n", {sums});\n  return 0;\n}}\n')
    objects = " ".join(f"{name}.o" for name in [*names, "main"])
    (place / "Makefile").write_text(
        "VPATH := $(dir $(lastword $(MAKEFILE_LIST)))\nCFLAGS := -O1 -I$(VPATH)\n\n"
        f"program: {objects}\n\t@$(CC) -o $@ $^ && ./$@\n%.o: %.c\n\t@$(CC) $(CFLAGS) -c -o $@ $<\n")


def cache_requests(folder):
    """What a client of memcached sends: one in four requests stores, the others ask."""
    chance = random.Random(2)
    requests = []
    for number in range(240_000):
        key = f"key:{chance.randrange(40_000)}"
        if number % 4 == 0:
            size = int(chance.paretovariate(1.2) * 40) % 4000
            requests.append(f"set {key} 0 0 {size} noreply\r\n{'v' * size}\r\n")
        else:
            requests.append(f"get {key}\r\n")
    (folder / "cache.requests").write_text("".join(requests), newline="")
