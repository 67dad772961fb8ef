#!/bin/sh
# Builds the image, tries it on a small scan without network, and saves it for submission. Trains nothing.
#
# usage: build_and_save.sh [--with-torch] [NAME]          (NAME: viscera, or viscera-torch)
#
# Writes NAME.tar.gz, its SHA-256 and its sizes into the current folder. Needs Docker, Python 3 with pip, and an
# index that pip reaches; the build itself needs no network.
# --with-torch: the second image, whose fine model runs as TorchScript. Its torch must be a CPU build (+cpu): the
#   wheel that TORCH_WHEEL=PATH names, or what pip as configured finds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wheels=$here/build/wheels
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
        cp "$TORCH_WHEEL" "$wheels/"
    else
        run "gathering torch" gather --no-deps -r "$here/requirements/torch.txt"
    fi
    wheel=$(ls "$wheels"/torch-*.whl 2>/dev/null) || stop "TORCH_WHEEL=$TORCH_WHEEL: not a wheel of torch"
    case $(basename "$wheel") in
    *+cpu-*) ;;
    *) stop "$(basename "$wheel") is not a CPU build (+cpu); name one with TORCH_WHEEL=PATH" ;;
    esac
}

check_bundles() {
    for bundle in "$here"/weights/*/bundle.json; do
        python3 - "$bundle" <<'PYTHON' || stop "the bundles are not what they say; restore them or export them again"
import hashlib, json, pathlib, sys

bundle = pathlib.Path(sys.argv[1])
for files in json.loads(bundle.read_text())["files"].values():
    for name, expected in files.items():
        path = bundle.parent / name
        if not path.exists():
            sys.exit(f"{path}: named in {bundle.name}, not there")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            sys.exit(f"{path}: SHA-256 is not the one in {bundle.name}")
PYTHON
    done
}

try_image() {
    trial=$here/build/trial
    rm -rf "$trial"
    mkdir -p "$trial/inputs" "$trial/outputs"
    cp "$here/tests/data/phantom_0000.nii.gz" "$trial/inputs/"
    run "the image on a small scan" docker run --rm --network none -m 8g \
        -v "$trial/inputs:/workspace/inputs:ro" -v "$trial/outputs:/workspace/outputs" "$1"
    gzip -t "$trial/outputs/phantom.nii.gz" 2>/dev/null || stop "the image wrote no mask for the small scan"
}

torch=
name=
for argument; do
    case $argument in
    --with-torch) torch=yes ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) stop "unknown option $argument; see --help" ;;
    *) [ -z "$name" ] && name=$argument || stop "one NAME, found $name and $argument" ;;
    esac
done
name=${name:-viscera${torch:+-torch}}
case $name in *[!a-z0-9._-]*) stop "NAME must be lower case letters, digits, '.', '_' and '-', found $name" ;; esac
requirements=requirements${torch:+/image-torch}.txt

mkdir -p "$here/build"
: >"$log"
for tool in docker python3 gzip sha256sum; do
    command -v $tool >/dev/null || stop "$tool is not installed"
done
docker info >>"$log" 2>&1 || stop "no Docker engine answers; start one or set DOCKER_HOST"

say "gathering wheels"
rm -rf "$wheels"
mkdir -p "$wheels"
[ -z "$torch" ] || gather_torch
run "gathering wheels" gather --find-links "$wheels" -r "$here/$requirements"

say "checking bundles"
check_bundles

say "building $name:latest"
run "docker build" docker build --network none --build-arg "REQUIREMENTS=$requirements" \
    --build-arg "SYSTEM=viscera${torch:+-torchscript}" --tag "$name:latest" "$here"

say "trying it on a small scan, without network"
try_image "$name:latest"

say "saving $name.tar.gz"
archive=$here/build/$name.tar
run "docker save" docker save --output "$archive" "$name:latest"
gzip -nf "$archive" || stop "compressing $archive failed"
mv "$archive.gz" "$name.tar.gz" || stop "$name.tar.gz cannot be written here"
sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256"
echo "$(stat -c %s "$name.tar.gz") bytes saved, $(docker image inspect --format '{{.Size}}' "$name:latest") bytes as an image"
