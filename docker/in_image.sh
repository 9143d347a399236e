#!/usr/bin/env bash
# Become a program of an unpacked image as Kubernetes would run it: read-only, as nobody, with /tmp and the media folder.
#
#   in_image.sh ROOT MEDIA_FOLDER PROGRAM ARGUMENT…        (root; the environment and the pid are the program's)
set -euo pipefail
root=$1 media=$2
shift 2
if [[ ${IN_MOUNTS:-} != "$$" ]]; then
  IN_MOUNTS=$$ exec unshare --mount --propagation private "$0" "$root" "$media" "$@"
fi
unset IN_MOUNTS
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --bind "$media" "$root/var/lib/connector/media"
mount -o remount,bind,ro "$root"
chroot=$(command -v chroot)
export HOME=/tmp PATH=/opt/connector/bin:/usr/bin:/bin TMPDIR=/tmp
exec "$chroot" --userspec=10001:10001 "$root" "$@"
