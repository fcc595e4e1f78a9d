#!/bin/sh
# A step of a CI pipeline that tests GPU code beside other users of the machine:
#
#     examples/ci.sh python3 -m pytest tests/gpu
#
# The tests get 30 % of device 0, for five minutes at most. The partition ends with them, however they
# end, so that there is nothing to clean up. GPU_DEVICE, GPU_MEMORY and GPU_TIME say otherwise. The status
# is the command's own; 124 if the time was up, 125 if there was no partition to be had.
set -eu
[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT...]" >&2; exit 2; }
exec chronos run --device "${GPU_DEVICE:-0}" --memory "${GPU_MEMORY:-0.3}" \
  --duration "${GPU_TIME:-5m}" --on-expiry kill -- "$@"
