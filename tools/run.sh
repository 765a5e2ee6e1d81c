#!/bin/sh
# Runs a task of package.json after installing what it needs: `tools/run.sh check|sim|test|soak|demo|bench ARGS...`.
# AFTERIMAGE_SETUP=skip leaves the host as it is (for hosts without apt).
set -eu
cd "$(dirname "$0")/.."
task=$1
shift
[ "${AFTERIMAGE_SETUP:-}" = skip ] || sh tools/setup.sh "$task" "${1:-}"
PATH="$PWD/node_modules/.bin:$PATH"
export PATH
case $task in
  check | test) exec node tools/check.ts "$task" "$@" ;;
  soak) exec node tools/soak.ts "$@" ;;
  package) exec node tools/package.ts "$@" ;;
  *) exec node "$task/main.ts" "$@" ;;
esac
