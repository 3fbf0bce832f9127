#!/usr/bin/env bash
# Runs a program on Nebula: builds the library and the command `nebula` when they are not there or not up to date, then
# becomes `nebula run -- PROGRAM`, with a report at exit. The program's stdout, stderr and exit status stay its own; like env
# and timeout, this script uses status 125 for its own failures, 126 and 127 for a program that cannot be run or found.
set -euo pipefail

if (($# == 0)); then
  cat >&2 <<'USAGE'
usage: scripts/run.sh PROGRAM [ARGUMENT...]
Runs PROGRAM with Nebula as its malloc and prints Nebula's report at exit.
NEBULA_STATS=0 leaves the report out; every other NEBULA_ variable is passed on as it is.
USAGE
  exit 125
fi

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
build=$project/build/run
library=$build/preload/libnebula.so
command=$build/src/tool/nebula

build_them() {
  # What the program is to run under is not what the compiler should run under.
  unset LD_PRELOAD
  if ! type -P meson ninja g++ pkg-config >/dev/null || ! pkg-config --exists CLI11 nlohmann_json fmt ncursesw libelf; then
    "$project/scripts/setup.sh" run || return
  fi
  if [[ ! -f $build/build.ninja ]]; then
    # An interrupted setup leaves a folder that meson takes for a finished one.
    rm -rf "$build"
    meson setup -Dtests=false -Dbench=false "$build" "$project" || return
  fi
  ninja -C "$build"
}

# What another user built, in a checkout that this one may only read, is used as it is.
if [[ ! -e $library || ! -e $command || -w $build ]]; then
  mkdir -p "${build%/*}"
  # Several run.sh may start at once: the first one builds, the others wait and find it done.
  exec {lock}>"$build.lock"
  flock "$lock"
  if ! (build_them) </dev/null >"$build.log" 2>&1; then
    cat "$build.log" >&2
    echo "run.sh: building failed" >&2
    exit 125
  fi
  exec {lock}>&-
fi

export NEBULA_STATS=${NEBULA_STATS-1}
exec -- "$command" run -- "$@"
