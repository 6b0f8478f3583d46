#!/usr/bin/env bash
# Make sure of a library that pip cannot bring: `renderer` (software OpenGL without a display, for
# MuJoCo), `navigation` (that and GLU, for miniworld), `browser` (Chromium, for the report's test),
# `peers` (FFmpeg, with which LeRobot reads video) or `slurm` (of which tests start a node). Installs
# it where apt-get may; otherwise says what to type.
set -u

case "${1:-}" in
  renderer) packages="libegl1 libegl-mesa0 libgl1-mesa-dri"; needed_for="rendering without a display" ;;
  navigation) packages="libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libglu1-mesa"; needed_for="navigation without a display" ;;
  browser) packages="chromium"; needed_for="the browser test of the report (it is skipped without)" ;;
  peers) packages="ffmpeg"; needed_for="LeRobot's video decoder (its tests fail without)" ;;
  slurm) packages="slurm-wlm munge"; needed_for="the tests of Slurm (they are skipped without)" ;;
  *) echo "usage: $0 renderer|navigation|browser|peers|slurm" >&2; exit 2 ;;
esac

present() {
  case "$1" in
    renderer) ldconfig -p 2>/dev/null | grep -qE 'libEGL_mesa\.so\.0|libEGL_nvidia\.so\.0|libOSMesa\.so\.' ;;
    navigation) for name in 'libEGL_(mesa|nvidia)\.so\.0' 'libGL\.so\.1' 'libGLU\.so\.1'; do ldconfig -p 2>/dev/null | grep -qE "$name" || return 1; done ;;
    slurm) command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null ;;
    peers) ldconfig -p 2>/dev/null | grep -qE 'libavcodec\.so\.' ;;
    browser) command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ;;
  esac
}

PATH="$PATH:/sbin:/usr/sbin"
[ "$(uname -s)" = Linux ] || exit 0
present "$1" && exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
  echo "installing $packages for $needed_for" >&2
  log=$(mktemp)
  if { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } >"$log" 2>&1; then
    rm -f "$log"
    exit 0
  fi
  tail -n 3 "$log" >&2
  rm -f "$log"
fi
echo "$packages missing, for $needed_for. Type: sudo apt-get update && sudo apt-get install -y $packages" >&2
exit 0
