# Shared by the scripts in this folder; sourced, never run. Sets nothing but functions and what is
# named just below. Needs bash 4.4 and, for what it calls, only Debian's essential packages.
# shellcheck shell=bash

# shellcheck disable=SC2034  # the scripts that source this file use them
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$root/build/logs
script=${0##*/}
export LC_ALL=C.UTF-8

bold='' dim='' red='' green='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
fi

say() { printf '%s\n' "$*"; }

# die MESSAGE [WHAT TO DO]: one line for each on stderr, and the end.
die() {
  printf '%s: %s\n' "$script" "$1" >&2
  if (($# > 1)); then printf '  %s\n' "${@:2}" >&2; fi
  exit 1
}

# usage: the script's own opening comment, without the marks.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# bad_usage MESSAGE
bad_usage() {
  printf '%s: %s\n' "$script" "$1" >&2
  usage >&2
  exit 2
}

# As fmt_seconds 75 -> "1 min 15 s".
fmt_seconds() {
  if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); fi
}

# The build folder must be ours to write: a clone that root built once is not a plain user's.
prepare_build_folder() {
  if mkdir -p "$logs" 2>/dev/null && [[ -w $root/build && -w $logs ]]; then return 0; fi
  die "cannot write to $root/build as $(id -un)" \
    "it belongs to $(stat -c %U "$root/build" 2>/dev/null || stat -c %U "$root"): run this as that user, or in a clone of your own"
}

# A build folder that root made in somebody else's clone (sudo scripts/deps) is given to them.
give_build_folder() {
  ((EUID != 0)) || [[ -O $root ]] || chown -R --reference="$root" "$root/build"
}

# The last thing that a log says, short enough for one line.
last_words() {
  tail -c 400 "$1" 2>/dev/null | tr '\r' '\n' | tr -d '\000-\010\013-\037' |
    awk 'NF { line = $0 } END { print substr(line, 1, 90) }'
}

# Shows that the step goes on: on a terminal one line that changes, else a line every 20 s.
# Ends with the script even if that is killed. `read` is a sleep that leaves no process behind.
watch_step() {
  local title=$1 log=$2 idle start=$SECONDS every=20
  [[ -t 1 ]] && every=1
  exec {idle}<> <(:)
  while kill -0 $$ 2>/dev/null; do
    read -rt "$every" -u "$idle" || true
    if [[ -t 1 ]]; then
      printf '\r\e[K%s%s · %s · %s%s' "$dim" "$title" "$(fmt_seconds $((SECONDS - start)))" \
        "$(last_words "$log" | cut -c -60)" "$plain"
    else
      printf '   ... %s, %s\n' "$(fmt_seconds $((SECONDS - start)))" "$(last_words "$log")"
    fi
  done
}

step_pid='' watch_pid='' behind_pid=''
stop_step() {
  local pid
  if [[ -n $watch_pid ]]; then kill "$watch_pid" 2>/dev/null || true; fi
  for pid in $step_pid $behind_pid; do kill "$pid" 2>/dev/null || true; done
  for pid in $step_pid $behind_pid; do wait "$pid" 2>/dev/null || true; done
  step_pid='' watch_pid='' behind_pid=''
}
trap 'stop_step; exit 130' INT
trap 'stop_step; exit 143' TERM HUP

# The command of a step; its pid in $!. It gets no stdin, and default signals: bash starts background
# commands with SIGINT ignored, which a tested program would inherit.
start_step() {  # LOG SECONDS COMMAND...
  local log=$1 limit=$2
  shift 2
  : >"$log"
  env --default-signal=INT,QUIT timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null &
}

# Waits for the command `step_pid`, and says how it ended. Returns its status.
end_step() {  # TITLE LOG SECONDS START
  local title=$1 log=$2 limit=$3 start=$4 status=0
  watch_step "$title" "$log" &
  watch_pid=$!
  wait "$step_pid" || status=$?
  step_pid=''
  kill "$watch_pid" 2>/dev/null || true
  wait "$watch_pid" 2>/dev/null || true
  watch_pid=''
  [[ -t 1 ]] && printf '\r\e[K'
  if ((status == 0)); then
    say "${green}ok${plain} $title ($(fmt_seconds $((SECONDS - start))))"
    return 0
  fi
  local why="status $status"
  ((status != 124 && status != 137)) || why="stopped: longer than $(fmt_seconds "$limit")"
  say "${red}FAILED${plain} $title ($why, after $(fmt_seconds $((SECONDS - start)))), the end of ${log#"$root"/}:"
  # A compiler's first error, and which tests failed, may stand far above the end.
  {
    grep -m 3 -E '(^|[ :])(fatal )?error: ' "$log" && echo ...
    grep -m 12 -E '^(FAILED|ERROR|PROBLEM) |^E  ' "$log" && echo ...
    tail -n 60 "$log"
  } | sed 's/^/   | /'
  return "$status"
}

# step TITLE LOG SECONDS COMMAND...: runs the command for at most SECONDS, its output into
# build/logs/LOG, and says how long it took. Returns the command's status, after the log's end was
# printed if that is not 0.
step() {
  local title=$1 log=$logs/$2 limit=$3 start=$SECONDS
  shift 3
  [[ -t 1 ]] || say "== $title"
  start_step "$log" "$limit" "$@"
  step_pid=$!
  end_step "$title" "$log" "$limit" "$start"
}

# step_behind, with the same arguments, starts a step that goes on behind those that follow; there is
# one such step at a time. catch_up waits for it, and ends as `step` does.
step_behind() {
  behind=("$1" "$logs/$2" "$3" "$SECONDS")
  say "== $1, behind the next steps"
  start_step "$logs/$2" "$3" "${@:4}"
  behind_pid=$!
}
catch_up() {
  [[ -t 1 ]] || say "== the rest of ${behind[0]}"
  step_pid=$behind_pid behind_pid=''
  end_step "${behind[@]}"
}

# as_root COMMAND...: as root, or through sudo. can_be_root tells whether that will work; sudo may
# ask for a password only where somebody can answer.
can_be_root() {
  ((EUID == 0)) && return 0
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null && return 0
  [[ -t 0 && -t 2 ]] && sudo -v
}
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# PoCL 6 ends the whole process, without a word that helps, where the kernel's /sys is not mounted.
check_sys() {
  [[ ! -e /etc/OpenCL/vendors/pocl.icd || -d /sys/devices/system/cpu ]] ||
    die "/sys is not mounted here, and PoCL (the OpenCL driver of this machine's CPU) aborts without it" \
      "mount it: mount -t sysfs sysfs /sys"
}
