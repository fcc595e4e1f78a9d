// Whether /proc can be believed. Any thread.
#pragma once

namespace chronos {

// Whether /proc has the numbers of the caller's pid namespace: it may be missing, or be that of
// another one (unshare --pid without a new /proc), where the same numbers are other processes.
bool proc_is_ours();

}  // namespace chronos
