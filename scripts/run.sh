#!/usr/bin/env bash
# Runs a program on Nebula: builds the library when it is not there or not up to date, then becomes the program.
# The program's stdout, stderr and exit status stay its own; like env and timeout, this script uses status 125
# for its own failures, 126 and 127 for a program that cannot be run or found.
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

fail() {
  echo "run.sh: $2" >&2
  exit "$1"
}

# The loader splits LD_PRELOAD at spaces and colons and knows no way to quote them.
if [[ $library == *[[:space:]:]* ]]; then
  fail 125 "the library cannot be preloaded from a path with a space or a colon: $library"
fi

program=$(type -P -- "$1") || {
  [[ -e $1 ]] && fail 126 "not a program that can be run: $1"
  fail 127 "program not found: $1"
}
[[ -d $program ]] && fail 126 "not a program that can be run: $1"

build_library() {
  # What the program is to run under is not what the compiler should run under.
  unset LD_PRELOAD
  if ! type -P meson ninja g++ >/dev/null; then
    "$project/scripts/setup.sh" run || return
  fi
  if [[ ! -f $build/build.ninja ]]; then
    # An interrupted setup leaves a folder that meson takes for a finished one.
    rm -rf "$build"
    meson setup -Dtests=false -Dbench=false "$build" "$project" || return
  fi
  ninja -C "$build"
}

# A library built by another user, in a checkout that this one may only read, is used as it is.
if [[ ! -e $library || -w $build ]]; then
  mkdir -p "${build%/*}"
  # Several run.sh may start at once: the first one builds, the others wait and find it done.
  exec {lock}>"$build.lock"
  flock "$lock"
  if ! (build_library) </dev/null >"$build.log" 2>&1; then
    cat "$build.log" >&2
    fail 125 "building the library failed"
  fi
  exec {lock}>&-
fi

export LD_PRELOAD=$library${LD_PRELOAD:+:$LD_PRELOAD}
export NEBULA_STATS=${NEBULA_STATS-1}
exec -- "$@"
