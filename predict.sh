#!/bin/sh
# What the image runs: every NIfTI in /workspace/inputs gives a mask in /workspace/outputs. POSIX sh.
# Further arguments go to the program, e.g. `sh predict.sh --report /workspace/outputs/report.jsonl`.
set -eu
cd "$(dirname "$0")"

# A folder mounted at outputs, or at the one above it, outlives the container; nothing else does.
mounted=
while read -r _ _ _ _ point _; do
    case $point in /workspace | /workspace/outputs) mounted=yes ;; esac
done </proc/self/mountinfo
[ "$mounted" ] || echo "warning: /workspace/outputs is not a mount: the masks stay in the container" >&2
exec python -m app --inputs /workspace/inputs --outputs /workspace/outputs "$@"
