#include "cli/queue/job.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/grant.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr std::array<std::pair<JobState, const char*>, 7> kStates = {{
    {JobState::kPending, "pending"},
    {JobState::kStarting, "starting"},
    {JobState::kRunning, "running"},
    {JobState::kDone, "done"},
    {JobState::kFailed, "failed"},
    {JobState::kCancelled, "cancelled"},
    {JobState::kLost, "lost"},
}};

// Fit to be copied into a shell, as far as a listing needs it.
std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

Json time_json(std::int64_t ms) {
  if (ms == 0) return nullptr;
  return static_cast<double>(ms) / 1000;
}

}  // namespace

const char* to_string(JobState state) {
  for (const auto& [one, name] : kStates) {
    if (one == state) return name;
  }
  return "unknown";
}

bool is_over(JobState state) { return state >= JobState::kDone; }

std::vector<JobState> states_named(std::string_view word) {
  std::vector<JobState> found;
  for (const auto& [state, name] : kStates) {
    if (word == name || (word == "over" && is_over(state)) || (word == "open" && !is_over(state))) {
      found.push_back(state);
    }
  }
  return found;
}

std::string JobSpec::command_text() const {
  if (!shell.empty()) return shell;
  std::string text;
  for (const std::string& word : command) text += (text.empty() ? "" : " ") + shell_word(word);
  return text;
}

std::string JobSpec::memory_text() const {
  if (memory.bytes > 0) return format_bytes(memory.bytes);
  return format_percent(memory.fraction) + "%";
}

Json job_json(const Job& job) {
  Json json;
  json["id"] = job.id;
  json["state"] = to_string(job.state);
  json["paused"] = job.held;
  json["name"] = job.name;
  json["command"] = job.command;
  json["priority"] = job.priority;
  json["memory"] = job.memory;
  json["gpus"] = job.gpus;
  json["devices"] = job.devices.empty() ? Json(nullptr) : Json(job.devices);
  json["attempt"] = job.attempt;
  json["retries_left"] = job.retries_left;
  json["exit_status"] = job.exit_status ? Json(*job.exit_status) : Json(nullptr);
  json["reason"] = job.reason.empty() ? Json(nullptr) : Json(job.reason);
  json["log"] = job.log.empty() ? Json(nullptr) : Json(job.log);
  json["submitted_at"] = time_json(job.submitted_ms);
  json["started_at"] = time_json(job.started_ms);
  json["ended_at"] = time_json(job.ended_ms);
  return json;
}

std::string boot_text() {
  const BootId& boot = this_boot();
  return to_hex(std::string_view(reinterpret_cast<const char*>(boot.data()), boot.size()));
}

std::int64_t wall_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace chronos::queue
