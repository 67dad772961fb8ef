#!/bin/sh
# What the image runs: every NIfTI in /workspace/inputs gives a mask in /workspace/outputs. POSIX sh.
# Further arguments go to the program, e.g. `sh predict.sh --report /workspace/outputs/report.jsonl`.
set -eu
cd "$(dirname "$0")"

# A folder mounted at outputs, or anywhere above it, outlives the container; nothing else does.
if ! grep -qE ' /workspace(/outputs)? ' /proc/self/mountinfo; then
    echo "warning: /workspace/outputs is not a mount: the masks stay in the container" >&2
fi
exec python -m app --inputs /workspace/inputs --outputs /workspace/outputs "$@"
