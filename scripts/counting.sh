# Counts what test suites say of themselves at the end of their logs; sourced by scripts/test.
# Every count_KIND takes the suite's exit status and its log, and adds to passed, failed, skipped.
# shellcheck shell=bash

passed=0 failed=0 skipped=0
count() {  # count PASSED FAILED SKIPPED
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# number_of WORD TEXT: the N of "N WORD" in TEXT, or 0.
number_of() {
  local found
  found=$(grep -oE "[0-9]+ $1" <<<"$2" | head -n 1 | cut -d ' ' -f 1) || true
  echo "${found:-0}"
}

# A suite that failed without a failure to count (it crashed,
# or was stopped) counts as one.
count_catch2() {  # STATUS LOG
  local text ok=0 bad=0 skip=0
  text=$(grep -E '^(All tests passed|test cases:)' "$2" | tail -n 1) || true
  if [[ $text == All* ]]; then
    ok=$(number_of 'test cases?' "$text")
  else
    ok=$(($(number_of passed "$text") + $(number_of 'failed as expected' "$text")))
    bad=$(number_of 'failed( |$)' "${text//failed as expected/}")
    skip=$(number_of skipped "$text")
  fi
  # Nothing ran: a filter or a build that has lost its tests.
  (($1 == 0 && ok + skip > 0 || bad > 0)) || bad=1
  count "$ok" "$bad" "$skip"
}

count_pytest() {  # STATUS LOG
  local text bad
  text=$(grep -E '^(=+ )?[0-9]+ [a-z]+.* in [0-9.]+s' "$2" | tail -n 1) || true
  bad=$(($(number_of failed "$text") + $(number_of 'errors?' "$text")))
  (($1 == 0 || bad > 0)) || bad=1
  count $(($(number_of passed "$text") + $(number_of xfailed "$text"))) "$bad" "$(number_of skipped "$text")"
}

# A suite of checks that prints a closing line "N passed, M failed" of its own, or counts as one.
count_script() {  # STATUS LOG
  local text bad
  text=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$2" | tail -n 1) || true
  text=${text:-$(($1 == 0)) passed, $(($1 != 0)) failed}
  bad=$(number_of failed "$text")
  (($1 == 0 || bad > 0)) || bad=1
  count "$(number_of passed "$text")" "$bad" "$(number_of skipped "$text")"
}
