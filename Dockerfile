# Viscera: abdominal organs in a CT scan, on a CPU, without network. Built by build_and_save.sh, which first gathers wheels
# in build/wheels, so that the build itself needs no network, and in build/staged the systems and bundles of this image.
#
# REQUIREMENTS=requirements/image-torch.txt makes an image with torch; SYSTEM is what it runs by itself.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS builder
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt /build/
COPY requirements /build/requirements
COPY build/wheels /build/wheels
COPY scripts/prune_image.sh /build/
RUN python3 -m venv /opt/viscera \
    && /opt/viscera/bin/python -m pip install --no-index --find-links=/build/wheels --no-cache-dir --no-compile \
        --disable-pip-version-check -r /build/${REQUIREMENTS} \
    && sh /build/prune_image.sh /opt/viscera
COPY predict.sh LICENSE /workspace/
COPY app /workspace/app
COPY build/staged/systems /workspace/systems
COPY build/staged/weights /workspace/weights
# Bytecode that is never checked against its source: importing is twice as fast as without, whoever runs it. Packages
# carry files for other Pythons that do not compile and are never imported; ours must.
# Modes are opened because a numeric user must read what a clone with a strict umask brought in.
RUN compile="/opt/viscera/bin/python -m compileall --invalidation-mode unchecked-hash" \
    && ($compile -qq /opt/viscera/lib || true) \
    && $compile -q /workspace/app \
    && mkdir /workspace/inputs /workspace/outputs \
    && chmod -R a+rX /workspace /opt/viscera \
    && chmod 1777 /workspace/outputs

FROM ${BASE}
ARG SYSTEM=viscera
LABEL org.opencontainers.image.title="viscera" \
      org.opencontainers.image.description="abdominal organs in CT, on a CPU, without network" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/viscera /opt/viscera
COPY --from=builder /workspace /workspace
# OPENBLAS_NUM_THREADS: numpy would start a thread a core of the host at import; steps share their work out themselves.
ENV PATH=/opt/viscera/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    VISCERA_SYSTEM=${SYSTEM}
WORKDIR /workspace
# A command and no entrypoint, so that `IMAGE` and `IMAGE /bin/bash -c "sh predict.sh"` are the same thing. Absolute, since
# Apptainer starts it in the folder that it was called from.
CMD ["sh", "/workspace/predict.sh"]
