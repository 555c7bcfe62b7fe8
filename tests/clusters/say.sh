#!/bin/sh
# Write what `jobkit env` says of this process, and what it records, to a folder: a file a process, since
# launchers mix the lines of what their ranks print. The name appears when the file is whole.
set -e
file=$1/$(hostname).$$
jobkit env --json --record "$file.env" >"$file.part"
mv "$file.part" "$file.json"
