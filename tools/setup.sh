#!/bin/sh
# This folder -> .venv with lipread and all it needs; returns at once when that is already there.
#
# The file .venv/lipread-ready says that it is: it holds the checksums of pyproject.toml and this script and the
# folder's name, so that a change of any of them, or a set-up that was broken off, leads to another pass. That pass
# keeps what is installed and adds what is missing.
# PYTHON=/path/to/python3.11 in the environment chooses the interpreter for a new .venv.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
python=$venv/bin/python
ready=$venv/lipread-ready
log=$venv/setup.log

give_up() {
    echo "$1" >&2
    exit 1
}

fits() { # an interpreter that runs and is one of the versions that mediapipe has wheels for
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

find_interpreter() {
    found=""
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3 python; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
        version=$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue
        found="${found:+$found, }$version"
    done
    give_up "lipread needs Python 3.11 or 3.12 and found ${found:-none}: install one of them (for example 'apt-get install \
python3 python3-venv' on Debian 12 or Ubuntu 24.04), or name it as in 'make test PYTHON=/path/to/python3.11'."
}

pip_install() {
    if "$@" >>"$log" 2>&1; then return; fi
    again="then run the same command again (it goes on where it stopped)"
    if grep -q "No space left on device" "$log"; then
        give_up "The disk is full: the set-up needs about 7 GB in $PWD/$venv and 4 GB in pip's cache; free some, $again."
    elif grep -Eq "NewConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|Connection (refused|broken|reset)|\
ProxyError|Max retries exceeded|Network is unreachable|requirement (setuptools|pip)[^(]*\\(from versions: none" "$log"; then
        give_up "pip cannot reach the package index: connect this machine to the network or set PIP_INDEX_URL to an index \
that it reaches, $again; details are in $log."
    fi
    give_up "pip could not install lipread ($(grep -o 'ERROR.*' "$log" | tail -n 1)): read $log, $again."
}

make_venv() { # needs ensurepip (Debian's python3-venv) or, without it, a pip of the interpreter's own
    interpreter=$(find_interpreter)
    echo "Setting up $venv with $("$interpreter" --version): about 7 GB and a few minutes, once; details are in $log."
    rm -rf "$venv/bin" "$venv/lib" "$venv/lib64" "$venv/pyvenv.cfg"
    if "$interpreter" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        "$interpreter" -m venv "$venv" >>"$log" 2>&1 ||
            give_up "Python could not make $PWD/$venv ($(tail -n 1 "$log")): free space or permissions there, then try again."
    elif "$interpreter" -c 'import pip, venv' >/dev/null 2>&1; then
        "$interpreter" -m venv --without-pip "$venv" >>"$log" 2>&1
        pip_install "$interpreter" -m pip --python "$python" install pip
    else
        give_up "$("$interpreter" --version) has neither venv nor pip: install them (on Debian or Ubuntu: 'apt-get install \
python3-venv'), then run the same command again."
    fi
}

check_libraries() { # the wheels of OpenCV and mediapipe expect a few libraries of the system
    problem=$("$python" -c 'import cv2, mediapipe, torch' 2>&1) && return
    echo "$problem" >>"$log"
    case $problem in
    *"cannot open shared object file"*)
        library=$(echo "$problem" | sed -n 's/.*[ (]\(lib[^ :]*\): cannot open shared object file.*/\1/p' | tail -n 1)
        give_up "The system library $library is missing: run 'apt-get install libgl1 libegl1 libgles2 libglib2.0-0' \
(Debian, Ubuntu) or install your system's packages of the same libraries, then run the same command again." ;;
    esac
    give_up "The packages in $venv do not load ($(echo "$problem" | tail -n 1)): delete the folder $PWD/$venv, then run the \
same command again."
}

wanted="$(cat pyproject.toml tools/setup.sh | cksum) $PWD"
if [ -x "$python" ] && [ "$(cat "$ready" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

trap 'give_up "The set-up was broken off; run the same command again and it goes on where it stopped."' INT TERM
mkdir -p "$venv" 2>/dev/null || give_up "Cannot write to $PWD: copy this folder to a place of your own and run it there."
if command -v flock >/dev/null; then # one set-up at a time
    exec 9>"$venv/setup.lock"
    flock -n 9 || { echo "Another set-up of $PWD/$venv is running: waiting for it."; flock 9; }
    if [ -x "$python" ] && [ "$(cat "$ready" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
fi
rm -f "$ready"
: >"$log"
if fits "$python" && "$python" -m pip --version >/dev/null 2>&1; then
    echo "Completing $venv: up to 7 GB and a few minutes, once; details are in $log."
else
    make_venv
fi
for package in "$venv"/lib/python*/site-packages/*.dist-info; do # pip writes RECORD last: without it, half installed
    if [ -d "$package" ] && [ ! -f "$package/RECORD" ]; then rm -rf "$package"; fi
done
pip_install "$python" -m pip install --editable ".[train,app,dev]"
check_libraries
echo "$wanted" >"$ready"
echo "$venv is ready."
