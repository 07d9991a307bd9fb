# syntax=docker/dockerfile:1
# The tracker in a container. PyTorch's wheels bring the CUDA libraries; the host's driver comes in with --gpus all.
#
#   docker build -t ostrack .
#   docker run --rm ostrack                                     # the demo, on the CPU
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/data:/home/ostrack/data" \
#       -v "$PWD/output:/home/ostrack/output" ostrack ostrack-test ostrack vits_256_ce_images --dataset otb
#
# The project folder is the working folder, see docs/install.md.
FROM python:3.11-slim-trixie

# What OpenCV's wheel wants of the system.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0t64 \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The large layer first: it is built anew when versions change, not when code does.
COPY constraints.txt /tmp/
RUN grep -E '^(torch|torchvision|timm|opencv-python|numpy|pandas|scipy|matplotlib|lmdb|tensorboard)==' \
        /tmp/constraints.txt > /tmp/large.txt \
    && pip install --requirement /tmp/large.txt

COPY . /tmp/source/
RUN pip install --constraint /tmp/constraints.txt '/tmp/source[train,profile,export]'

# Any user may write there (--user); caches follow HOME, which Docker sets to / for a user it does not know.
RUN useradd --create-home ostrack && chmod 1777 /home/ostrack
ENV HOME=/home/ostrack
USER ostrack
WORKDIR /home/ostrack
CMD ["ostrack-demo"]
