#!/usr/bin/env bash
# Measures Nebula and its peers side by side: installs what is missing, builds library and workloads in build/bench,
# and runs bench/compare.py with the options given (--help lists them). Results go to build/bench/results.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# A preload meant for the caller's programs has no business in compilers.
unset LD_PRELOAD

for option in "$@"; do
  case $option in
    # Neither runs anything that would have to be built.
    -h | --help | --from | --from=*) exec /usr/bin/python3 bench/compare.py "$@" ;;
  esac
done

scripts/setup.sh bench

build() {
  if [[ ! -f build/bench/build.ninja ]]; then
    # An interrupted setup leaves a folder that meson takes for a finished one.
    rm -rf build/bench
    meson setup -Dbuildtype=release -Dtests=false -Dbench=true build/bench || return
  fi
  ninja -C build/bench
}

mkdir -p build
if ! build </dev/null >build/bench.log 2>&1; then
  cat build/bench.log >&2
  echo "bench.sh: building failed" >&2
  exit 1
fi
exec /usr/bin/python3 bench/compare.py "$@"
