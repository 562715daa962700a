# The whole project with its environment, for a user who is not root. docs/install.md says how to use it.
#
#   docker build -t avsep .                                      without a GPU
#   docker build -t avsep:cuda --build-arg BUILD=cuda .          NVIDIA, CUDA 13
ARG BUILD=cpu

FROM python:3.12-slim-bookworm AS base-cpu
# PyTorch compiles its CPU kernels with g++, pesq has no wheel, DVC and the reports read git.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*

# Ubuntu 24.04 has Python 3.12. PyTorch brings CUDA itself: the base adds what finds the driver.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS base-cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM base-${BUILD}
ARG BUILD
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
# `docker run --user` gives any number: DVC asks for a name, and Prefect and DVC write to HOME.
ENV HOME=/tmp \
    USER=avsep \
    PATH="/opt/venv/bin:/opt/uv/bin:${PATH}" \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_PYTHON_DOWNLOADS=never

# Packages first: they change less often than the code. `--frozen` takes what uv.lock names, and
# checks its hashes.
WORKDIR /project
COPY pyproject.toml uv.lock README.md LICENSE NOTICE ./
RUN uv sync --frozen --no-default-groups --group workflow --extra "${BUILD}" --no-install-project

COPY . .
# The copy in the image is no git checkout, which DVC is told; a clone that is mounted over it is.
RUN uv sync --frozen --no-default-groups --group workflow --extra "${BUILD}" \
    && dvc config --local core.no_scm true \
    && useradd --no-create-home --uid 10001 avsep \
    && chown -R avsep:avsep /project
USER 10001
CMD ["avsep", "--help"]
