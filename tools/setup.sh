#!/bin/sh
# Installs what a task needs and says what it does: `tools/setup.sh check|sim|test|soak|demo|bench|package [NAME]`.
# npm packages when the lockfile changed; Debian packages when one is missing. Exit code 2: a person has to install something.
set -eu
cd "$(dirname "$0")/.."
task=${1:-check}
bench=${2:-}

say() { printf 'setup: %s\n' "$*" >&2; }
give_up() {
  say "$*"
  exit 2
}

# ---- npm packages, among them the Node that everything here runs on
nodeMajorMin=26
node_is_new_enough() {
  major=$("$1" --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
  [ -n "$major" ] && [ "$major" -ge "$nodeMajorMin" ]
}

install_npm_packages() {
  stamp=node_modules/.installed-lockfile
  wanted=$(sha256sum package-lock.json | cut -d' ' -f1)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  command -v npm >/dev/null || give_up "npm is missing; install Node 20 or newer with npm, then run this again"
  say "installing npm packages (npm ci)"
  npm ci --no-audit --no-fund --loglevel=error >&2 || give_up "npm ci failed; its own words are above"
  printf '%s\n' "$wanted" >"$stamp"
}

# ---- Debian packages
machines="qemu-system-x86 qemu-system-common qemu-utils qemu-block-extra"
peers="libnbd-bin nbdkit fio"
guest="e2fsprogs util-linux"
# Two sites on one host: namespaces, packets that vanish, clocks that jump.
sites="iproute2 iptables libfaketime"
case $task in
  check | sim | package) packages="" ;;
  demo) packages="$machines $guest" ;;
  test) packages="$machines $peers $guest $sites" ;;
  soak) packages="$machines $sites" ;;
  bench)
    packages="$machines $peers $guest"
    # The peer of the cycle bench is an incremental of virtnbdbackup on a libvirt domain.
    if [ "$bench" = cycle ]; then
      packages="$packages virtnbdbackup libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients"
    fi
    # A real data directory is made with it; the cluster that the package starts is left alone.
    if [ "$bench" = compress ]; then packages="$packages postgresql-15 xz-utils"; fi
    ;;
  *) give_up "unknown task '$task'; it is one of check, sim, test, soak, demo, bench" ;;
esac

is_installed() {
  case $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) in ii*) return 0 ;; *) return 1 ;; esac
}

has_apt() { command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; }

# A guest is built from Debian's packages with `apt-get download`, which needs the lists.
has_package_lists() { [ -n "$(apt-cache --quiet policy linux-image-cloud-amd64 2>/dev/null)" ]; }

install_debian_packages() {
  missing=""
  for package in "$@"; do is_installed "$package" || missing="$missing $package"; done
  if [ -z "$missing" ] && has_package_lists; then return; fi
  if [ "$(id -u)" != 0 ]; then
    [ -n "$missing" ] || give_up "apt's package lists are missing; as root: apt-get update"
    give_up "packages are missing; as root: apt-get update && apt-get install --no-install-recommends$missing"
  fi
  say "reading apt's package lists (apt-get update)"
  apt-get update -qq >&2 || give_up "apt-get update failed; its own words are above"
  [ -n "$missing" ] || return 0
  say "installing Debian packages:$missing"
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2 ||
    give_up "apt-get install failed; its own words are above"
}

has_node() { node_is_new_enough node_modules/.bin/node || node_is_new_enough node; }

install_npm_packages
# Node 26 is linked with libatomic, which a small Debian lacks.
if ! has_node && has_apt; then install_debian_packages libatomic1; fi
has_node || give_up "no Node $nodeMajorMin that runs on this host ($(uname -m)); put one in PATH, then run this again"

if [ -z "$packages" ]; then exit 0; fi
has_apt || give_up "this host has no apt; install what these Debian packages hold, then set AFTERIMAGE_SETUP=skip: $packages"
# shellcheck disable=SC2086 # a list of words
install_debian_packages $packages
