#!/bin/sh
# Takes out of an environment what the image never runs.
# usage: prune_image.sh VENV   (inside the build)
set -eu
site=$(echo "$1"/lib/python3*/site-packages)

# OpenVINO: the core, the CPU plug-in and the IR front end are enough to read, compile and run our models.
cd "$site/openvino"
for library in libs/*; do
    case $library in
    libs/libopenvino.so.* | libs/libopenvino_intel_cpu_plugin.so | libs/libopenvino_ir_frontend.so.*) ;;
    libs/libtbb* | libs/libhwloc*) ;;
    *) rm -r "$library" ;;
    esac
done
rm -rf include cmake torch tools frontend/*/*.so

cd "$site"
rm -rf openvino_telemetry* nibabel/tests nibabel/*/tests numpy/*/tests numpy/tests
rm -rf pip pip-* setuptools setuptools-* pkg_resources _distutils_hack distutils-precedence.pth "$1"/bin/pip*
find . -name '*.pyi' -delete
find . -name __pycache__ -prune -exec rm -rf {} +
