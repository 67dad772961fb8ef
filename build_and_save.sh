#!/bin/sh
# Builds the image, tries it on a small scan without network, and saves it for submission. Trains nothing.
#
# usage: build_and_save.sh [--system NAME] [--with-torch] [IMAGE_NAME]
#
# Writes IMAGE_NAME.tar.gz and its .sha256 into the current folder, in place of those of an earlier build alone, and
# prints the sizes. Needs Docker, Python 3 with pip, an index that pip reaches and the base image; the steps of the build
# itself have no network.
# The image holds the default system (viscera; with torch viscera-torchscript) and those that run on the same bundles.
# --system NAME: an image of systems/NAME.toml alone, with its bundles and no others; IMAGE_NAME is NAME by itself.
# --with-torch: an image in which TorchScript runs; IMAGE_NAME is viscera-torch by itself. Its torch must be a CPU build
#   (+cpu): the wheel that TORCH_WHEEL=PATH names, or what pip as configured finds.
# BASE=IMAGE: another base than python:3.11-slim-bookworm, such as a mirror's copy of it; one that the engine does not
#   have is pulled.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wheels=$here/build/wheels
staged=$here/build/staged
log=$here/build/log.txt

stop() {
    echo "build_and_save.sh: $*" >&2
    exit 1
}

say() {
    echo "== $*"
}

# run WHAT COMMAND...: quietly; a failure is one line, and the log has the rest
run() {
    what=$1
    shift
    "$@" >>"$log" 2>&1 || stop "$what failed; the last line was: $(grep -v '^ *$' "$log" | tail -n 1) (all of it: $log)"
}

# own FOLDER: an empty one, in place of one that this script made before
own() {
    [ ! -e "$1" ] || [ -f "$1/.made-by-viscera" ] || stop "$1 was not made by this script; move it away"
    rm -rf "$1"
    mkdir -p "$1"
    : >"$1/.made-by-viscera"
}

# 3.11 on x86-64 Linux with glibc 2.36, whatever machine this is; pip takes each platform tag by itself
gather() {
    set -- "$@" --only-binary=:all: --implementation cp --python-version 3.11
    for tag in manylinux_2_34 manylinux_2_31 manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 \
        manylinux_2_17 manylinux2014 manylinux_2_12 manylinux2010 manylinux_2_5 manylinux1; do
        set -- "$@" --platform "${tag}_x86_64"
    done
    python3 -m pip download --disable-pip-version-check --quiet --dest "$wheels" "$@"
}

gather_torch() {
    if [ -n "${TORCH_WHEEL:-}" ]; then
        [ -f "$TORCH_WHEEL" ] || stop "TORCH_WHEEL=$TORCH_WHEEL: no such file"
        cp -- "$TORCH_WHEEL" "$wheels/" 2>>"$log" || stop "TORCH_WHEEL=$TORCH_WHEEL cannot be copied"
    else
        run "gathering torch" gather --no-deps -r "$here/requirements/torch.txt"
    fi
    check_torch
}

check_torch() {
    set -- "$wheels"/torch-*.whl
    [ $# = 1 ] && [ -f "$1" ] || stop "one wheel of torch is needed, found $(basename -a "$@" | tr '\n' ' ')"
    case $(basename "$1") in
    *+cpu-*) ;;
    *) stop "$(basename "$1") is not a CPU build (+cpu); name one with TORCH_WHEEL=PATH" ;;
    esac
}

try_image() {
    trial=$here/build/trial
    own "$trial"
    mkdir "$trial/inputs" "$trial/outputs"
    cp "$here/tests/data/phantom_0000.nii.gz" "$trial/inputs/"
    run "the image on a small scan" docker run --rm --network none -m 8g \
        -v "$trial/inputs:/workspace/inputs:ro" -v "$trial/outputs:/workspace/outputs" "$1"
    gzip -t "$trial/outputs/phantom.nii.gz" 2>/dev/null || stop "the image wrote no mask for the small scan"
}

torch=
system=
name=
while [ $# -gt 0 ]; do
    case $1 in
    --with-torch) torch=yes ;;
    --system)
        system=${2:-}
        case $system in "" | -* | */*) stop "--system takes the NAME of a file systems/NAME.toml, found '$system'" ;; esac
        shift
        ;;
    -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) stop "unknown option $1; see --help" ;;
    *) [ -z "$name" ] && name=$1 || stop "one IMAGE_NAME, found $name and $1" ;;
    esac
    shift
done
name=${name:-${system:-viscera}${torch:+-torch}}
case $name in *[!a-z0-9._-]*) stop "IMAGE_NAME must be lower case letters, digits, '.', '_' and '-', found $name" ;; esac
requirements=requirements${torch:+/image-torch}.txt

mkdir -p "$here/build"
: >"$log"
for tool in docker python3 gzip sha256sum; do
    command -v $tool >/dev/null || stop "$tool is not installed"
done
docker info >>"$log" 2>&1 || stop "no Docker engine answers; start one or set DOCKER_HOST"

[ ! -e "$name.tar.gz" ] || sha256sum --check --status "$name.tar.gz.sha256" 2>>"$log" ||
    stop "$name.tar.gz is not of an earlier build here, whose SHA-256 would be beside it; move it away, or choose another IMAGE_NAME"

default=${system:-viscera${torch:+-torchscript}}
say "gathering system $default and its bundles"
own "$staged"
python3 -B "$here/scripts/stage_image.py" "$here" "$staged" "$default" ${system:+--alone} ${torch:+--with-torch} \
    >>"$log" 2>&1 || stop "$(tail -n 1 "$log")"

say "gathering wheels"
own "$wheels"
[ -z "$torch" ] || gather_torch
run "gathering wheels" gather --find-links "$wheels" -r "$here/$requirements"
[ -z "$torch" ] || check_torch

say "building $name:latest"
run "docker build" docker build --network none --build-arg "REQUIREMENTS=$requirements" \
    --build-arg "SYSTEM=$default" ${BASE:+--build-arg "BASE=$BASE"} \
    --tag "$name:latest" "$here"

say "trying it on a small scan, without network"
try_image "$name:latest"

say "saving $name.tar.gz"
archive=$here/build/$name.tar
run "docker save" docker save --output "$archive" "$name:latest"
gzip -nf "$archive" || stop "compressing $archive failed"
mv "$archive.gz" "$name.tar.gz" || stop "$name.tar.gz cannot be written here"
chmod 644 "$name.tar.gz"
sha256sum "$name.tar.gz" >"$name.tar.gz.sha256" || stop "no SHA-256 of $name.tar.gz"
cat "$name.tar.gz.sha256"
archive_bytes=$(stat -c %s "$name.tar.gz")
image_bytes=$(docker image inspect --format '{{.Size}}' "$name:latest")
echo "$name.tar.gz: $((archive_bytes / 1000000)) MB ($archive_bytes bytes)"
echo "$name:latest: $((image_bytes / 1000000)) MB uncompressed, its base included ($image_bytes bytes)"
