#!/bin/sh
# Builds the pages of docs/ as a site: `sh tools/build_docs.sh [FOLDER]`, by default output/site. Warnings are errors.
# Needs the extra `docs` and no network; exit codes: 0 done, 1 a warning or an error, 2 bad usage.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
if [ $# -gt 1 ]; then
    printf 'build_docs.sh: found %s arguments; one folder is accepted\n' "$#" >&2
    exit 2
fi
case ${1:-} in
-*)
    printf 'build_docs.sh: found %s; one folder is accepted, or nothing\n' "$1" >&2
    exit 2
    ;;
esac
site=${1:-$root/output/site}
case $site in
/*) ;;
*) site=$(pwd -P)/$site ;;
esac
python=python
[ -n "${VIRTUAL_ENV:-}" ] || [ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
cd -- "$root" || exit 1
if ! "$python" -c 'import material, mathjax, mkdocstrings' 2>/dev/null; then
    printf 'build_docs.sh: MkDocs, or one of its parts, is not installed; pip install -e ".[docs]"\n' >&2
    exit 1
fi
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --site-dir "$site" || exit 1
printf '%s/index.html\n' "$site"
