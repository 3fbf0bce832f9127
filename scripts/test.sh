#!/usr/bin/env bash
# Sets up, builds everything and runs all tests:
#   build/test     g++, release: every suite
#   build/clang    clang, debug: must build without a warning; hazard and misuse tests, with checks of the order of locks
#   build/debug, build/clang-release   the library alone: the same of g++, debug, and clang, release
#   build/thread   thread sanitizer: unit, property and stress tests
#   build/address  address and undefined-behaviour sanitizers: the same
# The last line is 'N passed, N failed, N skipped', after what each failed one printed last and the names of
# both; a build that fails counts as one failure. The status is 0 when nothing failed.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/test.sh                 everything (half an hour on two cores)
       scripts/test.sh --quick         release build; unit, misuse and hazard tests
       scripts/test.sh SUITE...        release build; these suites, such as unit, stress or integration
USAGE
}

suites=()
everything=yes
while (($# > 0)); do
  case $1 in
    --help)
      usage
      exit 0
      ;;
    --quick) suites+=(unit misuse hazard) ;;
    -*)
      usage >&2
      exit 2
      ;;
    *) suites+=("$1") ;;
  esac
  everything=no
  shift
done

scripts/setup.sh test

# A preload meant for the caller's programs has no business in compilers and test runners.
unset LD_PRELOAD
# A test that waits for input would wait for ever.
exec </dev/null

failed_builds=0
test_logs=()
personality=()

# build FOLDER MESON_OPTION...
build() {
  local folder=build/$1
  shift
  echo "== building $folder"
  local state=()
  if [[ -f $folder/build.ninja ]]; then
    state=(--reconfigure)
  else
    # An interrupted setup leaves a folder that meson takes for a finished one.
    rm -rf "$folder"
  fi
  mkdir -p build
  if meson setup "${state[@]}" "$@" "$folder" >"$folder.log" 2>&1 && ninja -C "$folder" >>"$folder.log" 2>&1; then
    return 0
  fi
  cat "$folder.log"
  echo "== building $folder failed"
  failed_builds=$((failed_builds + 1))
  return 1
}

# run_tests FOLDER SUITE...: no suite means all of them.
run_tests() {
  local folder=build/$1
  shift
  echo "== testing $folder"
  local options=(--no-rebuild --num-processes 2 --print-errorlogs) suite
  for suite in "$@"; do
    options+=(--suite "$suite")
  done
  # A log of an earlier run must not be counted again when this run does not get as far as writing one.
  rm -f "$folder/meson-logs/testlog.json"
  test_logs+=("$folder/meson-logs/testlog.json")
  # The log says what failed, and the count below reads it.
  "${personality[@]}" meson test -C "$folder" "${options[@]}" || true
}

if build test --werror -Dbuildtype=release -Dtests=true -Dbench=true; then
  run_tests test "${suites[@]}"
fi

if [[ $everything == yes ]]; then
  if CC=clang CXX=clang++ build clang --werror -Dbuildtype=debug -Dtests=true -Dbench=true; then
    run_tests clang hazard misuse
  fi
  library_alone=(--werror -Dtests=false -Dbench=false -Dtool=false)
  build debug "${library_alone[@]}" -Dbuildtype=debug || true
  CC=clang CXX=clang++ build clang-release "${library_alone[@]}" -Dbuildtype=release || true

  # The preloaded library itself is no place for a sanitizer: it would replace the sanitizer's own malloc. The tests
  # that link the core are.
  sanitized=(-Dbuildtype=debugoptimized -Db_lundef=false -Dtests=true -Dbench=false -Dtool=false)
  if build thread "${sanitized[@]}" -Db_sanitize=thread; then
    # The thread sanitizer's shadow needs fixed addresses, which the kernel's randomisation may have given away.
    if setarch --addr-no-randomize true 2>/dev/null; then
      personality=(setarch --addr-no-randomize)
    fi
    run_tests thread unit property stress
    personality=()
  fi
  if build address "${sanitized[@]}" -Db_sanitize=address,undefined; then
    run_tests address unit property stress
  fi
fi

/usr/bin/python3 - "$failed_builds" "${test_logs[@]}" <<'COUNT'
import json
import sys

passed = 0
failed = int(sys.argv[1])
skipped = []
failures = []
for path in sys.argv[2:]:
    try:
        with open(path, encoding='utf-8') as log:
            tests = [json.loads(line) for line in log]
    except OSError:
        tests = [{'name': 'none', 'result': 'no test ran'}]
    results = [test['result'] for test in tests]
    skipped += [f"{path.split('/')[1]}: {test['name']}" for test in tests if test['result'] == 'SKIP']
    passed += sum(result in ('OK', 'EXPECTEDFAIL') for result in results)
    bad = [test for test in tests if test['result'] not in ('OK', 'EXPECTEDFAIL', 'SKIP')]
    failed += len(bad)
    failures += [(path.split('/')[1], test) for test in bad]
for build, test in failures:
    print(f"== {build}: {test['name']}: {test['result']} after {test.get('duration', 0):.1f} s")
    for stream in ('stdout', 'stderr'):
        print('\n'.join(test.get(stream, '').splitlines()[-40:]))
for build, test in failures:
    print(f"failed: {build}: {test['name']}")
for name in skipped:
    print(f'skipped: {name}')
print(f'{passed} passed, {failed} failed, {len(skipped)} skipped')
sys.exit(failed != 0)
COUNT
