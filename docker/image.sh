#!/usr/bin/env bash
# Build the image without a Docker daemon: buildah, in a chroot. `make image` runs it.
#
#   IMAGE  its name                               (connector:VERSION)
#   BASE   the base image, from any registry      (docker/Dockerfile's); "debootstrap" makes one of Debian packages,
#                                                 where no registry can be reached
#   SUITE  the Debian release of that base        (trixie: Python 3.13)
#   EXTRA_REQUIREMENTS  a locked requirements file for what a deployment needs besides, e.g. s3fs
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${IMAGE:-connector:$version}
base=${BASE:-$(sed -n 's/^ARG BASE_IMAGE=//p' docker/Dockerfile)}
suite=${SUITE:-trixie}

if ! command -v buildah >/dev/null; then
  echo "error buildah is not installed; nothing was built." >&2
  echo "next  apt-get install buildah debootstrap, or: docker build -f docker/Dockerfile -t $image ." >&2
  exit 1
fi

# No daemon, no user namespace. Where overlays cannot be mounted: STORAGE_DRIVER=vfs make image.
export BUILDAH_ISOLATION=chroot

debian_base() {
  if ! command -v debootstrap >/dev/null; then
    echo "error debootstrap is not installed, and BASE=debootstrap asks for it; nothing was built." >&2
    echo "next  apt-get install debootstrap, or BASE=<an image with python3> make image" >&2
    exit 1
  fi
  local name=localhost/connector-base:$suite
  if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
    echo "making $name of Debian $suite ..." >&2
    root=$(mktemp -d)
    trap 'rm -rf --one-file-system "$root"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" \
      "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
    rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
      "$root"/usr/share/{doc,man,locale,info}/*
    local container
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root" / >/dev/null
    buildah config --cmd python3 "$container"
    buildah commit --quiet --rm "$container" "$name" >/dev/null
  fi
  echo "$name"
}

if [[ $base == debootstrap ]]; then base=$(debian_base); fi

arguments=(--build-arg "BASE_IMAGE=$base")
if [[ -n ${EXTRA_REQUIREMENTS:-} ]]; then arguments+=(--build-arg "EXTRA_REQUIREMENTS=$EXTRA_REQUIREMENTS"); fi
# This machine's package index and authorities, for the build only.
secret() { if [[ -r $2 ]]; then arguments+=(--secret "id=$1,src=$2"); fi; }
secret pip.conf "${PIP_CONFIG_FILE:-/etc/pip.conf}"
secret ca-certificates "${SSL_CERT_FILE:-/nonexistent}"
if ! buildah inspect --type image "$base" >/dev/null 2>&1 && ! buildah pull --quiet "$base" >/dev/null; then
  echo "error the base image $base cannot be had; nothing was built." >&2
  echo "next  BASE=debootstrap make image, which makes one of Debian packages, or BASE=<an image that can be had> make image" >&2
  exit 1
fi
# Docker's format: the OCI one has no HEALTHCHECK.
buildah build --format docker --pull=missing --layers "${arguments[@]}" -f docker/Dockerfile -t "$image" .
echo "built $image"
echo "next  buildah push $image docker://REGISTRY/connector:$version"
