#!/bin/sh
# Runs uv with the given arguments: the one on the PATH where it works, else one installed in .uv/.
# Points it at a fitting Python where it would not find one by itself.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
wanted='>=3.12,<3.15'

fail() {
    echo "$*" >&2
    exit 1
}

# The Pythons that pyenv keeps, which need not be on the PATH.
pyenv_pythons() {
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 2>/dev/null | sort -rV
}

# A shim of pyenv answers to "uv" and "python3" also where the Python it stands for has none.
works() {
    "$1" --version >/dev/null 2>&1
}

install_uv() {
    export PIP_DISABLE_PIP_VERSION_CHECK=1  # what uv is installed with concerns nobody
    for python in python3 /usr/bin/python3 $(pyenv_pythons); do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 || continue
        echo "installing uv into .uv/ with $python" >&2
        # Debian's Python may lack venv or pip; where it has one of them, that is enough.
        rm -rf "$root/.uv"
        if "$python" -m venv "$root/.uv" >/dev/null 2>&1 &&
            "$root/.uv/bin/python" -m pip install --quiet uv >&2 && works "$root/.uv/bin/uv"; then
            return
        fi
        rm -rf "$root/.uv"
        if "$python" -m pip install --quiet --target "$root/.uv" uv >&2 && works "$root/.uv/bin/uv"; then
            return
        fi
    done
    rm -rf "$root/.uv"
    fail "uv is missing and could not be installed: install uv by hand, or a Python >= 3.8 with pip."
}

find_python() {
    [ -z "${UV_PYTHON:-}" ] || return 0
    for request in '' "$wanted" $(pyenv_pythons); do
        # Without a request uv goes by .python-version and the environment it made before.
        if found=$("$uv" python find --no-python-downloads --project "$root" ${request:+"$request"} 2>/dev/null) &&
            "$found" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info < (3, 15))'; then
            [ -z "$request" ] || export UV_PYTHON="$found"
            return
        fi
    done
    echo "no Python $wanted found; uv fetches one" >&2
    "$uv" python install --project "$root" >&2 ||
        fail "Python >= 3.12 is missing and uv could not fetch one: install Python 3.13."
}

# A network that inspects TLS has a certificate that only the system's own store knows.
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"

uv=uv
if ! works uv; then
    uv=$root/.uv/bin/uv
    works "$uv" || install_uv
fi
find_python
exec "$uv" "$@"
