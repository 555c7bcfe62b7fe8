#!/usr/bin/env bash
# Make sure that this machine has what a build needs: Python with venv, a C++ compiler and git.
# As root on a Debian-like system whatever is missing is installed; otherwise it is named.
#
#   system.sh PYTHON [COMMAND:PACKAGE ...]     the further ones are wanted, but only root installs them, where
#                                              the distribution has them; a path with wildcards is a COMMAND too
set -euo pipefail
python=${1:-python3}
shift || true

is_root=$([ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo yes || echo no)
missing=() wanted=()
for each in "$@"; do
  name=${each%%:*}
  command -v "$name" >/dev/null || compgen -G "$name" >/dev/null || [ "$is_root" = no ] || wanted+=("${each##*:}")
done
command -v "$python" >/dev/null || missing+=(python3)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || missing+=(g++)
command -v git >/dev/null || missing+=(git)
# An interpreter of a distribution keeps its headers in a package of its own.
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' \
  2>/dev/null || missing+=(python3-dev)

[ $((${#missing[@]} + ${#wanted[@]})) -eq 0 ] && exit 0
if [ "$is_root" = yes ]; then
  apt-get update -qq
  for package in "${wanted[@]}"; do
    apt-cache show "$package" >/dev/null 2>&1 && missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && exit 0
  echo "installing ${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "this machine lacks: ${missing[*]}" >&2
  echo >&2
  echo "hint: run as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
