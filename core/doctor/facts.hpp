// What `chronos doctor` looks at, gathered in one go. gather() reads files, asks drivers and runs
// helper programs, all bounded in time; it changes nothing but what the other verbs change too (the
// remembered devices). Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/enforce/standing.hpp"
#include "core/ownership.hpp"

namespace chronos::doctor {

// The directory of partitions.
struct StateFact {
  std::string path, error, hint;  // `error` set: it cannot be used
  bool is_missing = false;
  bool named = false;  // by CHRONOS_STATE_DIR
  uid_t owner = 0;
  unsigned mode = 0;  // with the sticky bit
  bool in_memory = true;
  std::uint64_t free_bytes = 0;
};

// What the kernel and the system say about this process's surroundings.
struct SystemFact {
  uid_t uid = 0;
  std::string user;
  bool untrusted_environment = false;
  bool in_user_namespace = false, in_time_namespace = false, has_proc = true;
  unsigned hidepid = 0;
  std::optional<int> protected_regular, protected_hardlinks, protected_symlinks;
  bool logind_runs = false;
  bool removes_ipc = true;  // RemoveIPC= as logind reads it
};

struct DriverFact {
  std::string label, problem;  // `problem` empty: it answered
};

// One way into a program, tried in a real child.
struct Trial {
  std::string problem;  // why it could not be tried, or what went wrong; empty: it ran
  bool layer = false, driver = false;  // the door was opened and took calls
  unsigned devices = 0;
  std::string shim_version;
};

struct LoaderFact {
  std::string path, name, version, vendor;
  std::string problem;    // it cannot be used
  bool is_found = false;  // the dynamic linker finds it for programs
  Trial layers;           // OPENCL_LAYERS alone
};

struct NamedPartition {
  std::string id, problem, hint;  // `problem` empty: it can be used
};

struct PartitionFact {
  std::string error, hint;                    // they cannot be looked up
  std::vector<std::string> warnings;          // files that could not be used
  std::vector<std::string> own;               // "p1: 40 MiB of 1 GiB in use, 59m left"
  unsigned others = 0;                        // of other users
  std::optional<std::string> named_variable;  // CHRONOS_PARTITION
  std::vector<NamedPartition> named;
};

struct Facts {
  std::string version, library, library_version;  // of what gathers, and of libchronos.so
  std::string shim, shim_problem, shim_hint;
  SystemFact system;
  StateFact state;
  std::vector<Device> devices;
  std::string device_error, device_hint;
  std::vector<DriverFact> drivers;
  std::vector<LoaderFact> loaders;
  Trial preload, driver_door;
  PartitionFact partitions;
  enforce::Standing enforcement;
  std::optional<std::string> preload_variable, layers_variable, lifetime_variable, log_variable;
  std::vector<std::string> missing_files;  // named by LD_PRELOAD or OPENCL_LAYERS, and not there
};

// `version`: that of the caller.
Facts gather(const std::string& version);

inline constexpr uid_t kFirstOrdinaryUid = 1000;  // logind leaves system users' files alone
// Whether logind takes the caller's files out of that directory at the end of their last session.
bool files_go_at_logout(const StateDir& state);

// RemoveIPC= of the last of logind's files (in the order that logind reads them) that sets it.
bool removes_ipc(const std::vector<std::string>& contents);
// hidepid= of the /proc mount, from /proc/self/mountinfo: 0, 1, 2 or 4.
unsigned hidepid_of(std::string_view mountinfo);
// Whether /proc/self/uid_map is that of the initial user namespace.
using chronos::is_initial_uid_map;

// ---- Parts of gather(), each in a file of its own ----------------------------------------------
void look_at_system(Facts& facts);      // system.cpp
void look_at_state(Facts& facts);       // system.cpp
void look_at_partitions(Facts& facts);  // partitions.cpp
void look_at_devices(Facts& facts);     // partitions.cpp
void look_at_doors(Facts& facts);       // doors.cpp

}  // namespace chronos::doctor
