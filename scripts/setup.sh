#!/usr/bin/env bash
# Makes sure that the Debian packages for one purpose are there: run (build the library and the command), bench, or test.
# Nothing is changed unless all of it can be: where packages are missing and cannot be installed, their names
# go to stderr and the status is 1.
set -euo pipefail

run_packages=(meson ninja-build g++ pkg-config libcli11-dev nlohmann-json3-dev libfmt-dev libncurses-dev libelf-dev
  libdw-dev libprotobuf-dev protobuf-compiler zlib1g-dev)
# What benchmarks and tests are built with, and the programs that both run.
common_packages=("${run_packages[@]}"
  libbenchmark-dev libnuma-dev libjemalloc-dev libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 python3
  redis-server redis-tools sqlite3 xz-utils clang git perl python3-matplotlib)
bench_packages=("${common_packages[@]}"
  libtbbmalloc2 valgrind gcc libc6-dev make memcached z3 ghostscript ruby lua5.4 rocksdb-tools)
test_packages=("${common_packages[@]}"
  libclang-rt-14-dev libgtest-dev libgmock-dev librapidcheck-dev valgrind binutils util-linux
  golang-go libpython3.11-testsuite bash nodejs openjdk-17-jre-headless tar gzip coreutils openssl python3-jsonschema python3-pil chromium
  qemu-system-x86 busybox-static cpio python3-pyte zsh bash-completion)

case ${1:-} in
  run) wanted=("${run_packages[@]}") ;;
  bench) wanted=("${bench_packages[@]}") ;;
  test) wanted=("${test_packages[@]}") ;;
  *)
    echo "usage: scripts/setup.sh run|bench|test" >&2
    exit 2
    ;;
esac

declare -A installed=()
if type -P dpkg-query >/dev/null; then
  while read -r package state; do
    if [[ $state == installed ]]; then
      installed[$package]=yes
    fi
  done < <(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
fi

# promtool comes with a server that the package would start: only the program is taken out of it, into build/tools.
bring_promtool() {
  local tools
  tools=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/build/tools
  if type -P promtool >/dev/null || [[ -x $tools/promtool ]]; then
    return 0
  fi
  echo "setup: fetching promtool" >&2
  local folder
  folder=$(mktemp -d)
  mkdir -p "$tools"
  if (cd "$folder" && apt-get -qq download prometheus && dpkg-deb --extract prometheus_*.deb tree) </dev/null >&2 &&
    mv "$folder/tree/usr/bin/promtool" "$tools/"; then
    rm -rf "$folder"
    return 0
  fi
  rm -rf "$folder"
  echo "setup: promtool cannot be fetched (it is in the package prometheus)" >&2
  return 1
}

# speedscope, a page that shows profiles, is in no Debian package: npm has it. Without it one test says that it was skipped, and why.
bring_speedscope() {
  local tools
  tools=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/build/tools
  if [[ -f $tools/speedscope/dist/release/index.html ]]; then
    return 0
  fi
  echo "setup: fetching speedscope" >&2
  local folder
  folder=$(mktemp -d)
  mkdir -p "$tools"
  if type -P npm >/dev/null && (cd "$folder" && timeout 120 npm pack --silent speedscope@1.25.0 && tar -xf speedscope-*.tgz) </dev/null >&2; then
    rm -rf "$tools/speedscope"
    mv "$folder/package" "$tools/speedscope"
  else
    echo "setup: speedscope cannot be fetched (npm pack speedscope@1.25.0)" >&2
  fi
  rm -rf "$folder"
}

missing=()
for package in "${wanted[@]}"; do
  if [[ -z ${installed[$package]:-} ]]; then
    missing+=("$package")
  fi
done
# The kernel of the guest with several NUMA nodes is taken out of its package, not installed: this machine boots another.
kernel=$(dirname -- "${BASH_SOURCE[0]}")/../build/guest/vmlinuz
fetch_kernel() {
  [[ $1 == test && ! -f $kernel ]] || return 0
  local scratch package
  scratch=$(mktemp -d)
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -1)
  echo "setup: fetching ${package:-linux-image-cloud-amd64} for $kernel" >&2
  if [[ -n $package ]] && (cd "$scratch" && apt-get -qq download "$package" && dpkg -x ./*.deb .) >&2; then
    mkdir -p "${kernel%/*}"
    cp "$scratch"/boot/vmlinuz-* "$kernel"
  fi
  rm -rf "$scratch"
  [[ -f $kernel ]] || { echo "setup: the package linux-image-cloud-amd64 cannot be fetched" >&2; return 1; }
}

if ((${#missing[@]} == 0)); then
  fetch_kernel "$1"
  [[ $1 != test ]] || { bring_promtool && bring_speedscope; }
  exit
fi

give_up() {
  echo "setup: $1; these packages are missing: ${missing[*]}" >&2
  exit 1
}

as_root=()
if ((EUID != 0)); then
  type -P sudo >/dev/null || give_up "installing needs root or sudo"
  as_root=(sudo)
  # Without a terminal nobody can type a password: fail at once instead of waiting for it.
  [[ -t 0 ]] || as_root+=(--non-interactive)
fi
type -P apt-get >/dev/null || give_up "there is no apt-get to install with"

apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}
echo "setup: installing ${missing[*]}" >&2
apt_get update || give_up "apt-get update failed"
apt_get install --yes --no-install-recommends "${missing[@]}" || give_up "apt-get install failed"
fetch_kernel "$1"
[[ $1 != test ]] || { bring_promtool && bring_speedscope; }
