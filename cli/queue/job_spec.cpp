// JobSpec as text: JSON, as it is stored, and the lines of `queue add -`.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <initializer_list>
#include <utility>

#include "cli/queue/job.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr unsigned kMostGpus = 4096;
constexpr unsigned kMostRetries = 1'000'000;
constexpr unsigned kMostLogs = 1000;
constexpr std::int64_t kMostPriority = 1'000'000'000;

tl::unexpected<Error> wrong(std::string_view key, std::string_view must) {
  return fail(ErrorCode::kInvalid, fmt::format("invalid \"{}\": it must be {}", key, must));
}

Result<std::string> text_of(std::string_view key, const Json& value) {
  if (!value.is_string()) return wrong(key, "a string");
  auto text = value.get<std::string>();
  if (text.find('\0') != std::string::npos) return wrong(key, "without zero bytes");
  return text;
}

Result<std::int64_t> number_of(std::string_view key, const Json& value, std::int64_t least,
                               std::int64_t most) {
  const bool fits =
      value.is_number_integer() && !(value.is_number_unsigned() &&
                                     value.get<std::uint64_t>() > static_cast<std::uint64_t>(most));
  if (!fits || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
    return wrong(key, fmt::format("a whole number from {} to {}", least, most));
  }
  return value.get<std::int64_t>();
}

Result<std::vector<std::string>> texts_of(std::string_view key, const Json& value) {
  if (!value.is_array()) return wrong(key, "a list of strings");
  std::vector<std::string> texts;
  for (const Json& one : value) {
    auto text = text_of(key, one);
    if (!text) return pass_on(text);
    texts.push_back(std::move(*text));
  }
  return texts;
}

template <class Number>
Result<std::vector<Number>> numbers_of(std::string_view key, const Json& value, std::int64_t least,
                                       std::int64_t most) {
  std::vector<Number> numbers;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& one : list) {
    auto number = number_of(key, one, least, most);
    if (!number) return pass_on(number);
    numbers.push_back(static_cast<Number>(*number));
  }
  return numbers;
}

// A text as on the command line, or a number as it stands in JSON.
Result<MemoryAmount> memory_of(const Json& value) {
  if (value.is_number()) {
    MemoryAmount amount;
    amount.fraction = value.get<double>();
    if (amount.fraction > 0 && amount.fraction <= 1) return amount;
    return wrong("memory", "a share above 0 and at most 1, or a size such as \"4GiB\"");
  }
  auto text = text_of("memory", value);
  if (!text) return pass_on(text);
  return parse_memory(*text);
}

Result<std::uint64_t> duration_of(const Json& value) {
  if (value.is_number()) return parse_duration(value.dump());
  auto text = text_of("duration", value);
  if (!text) return pass_on(text);
  if (*text == "unlimited") return 0;
  return parse_duration(*text);
}

// As a size on the command line, a number of bytes, or "off".
Result<std::uint64_t> log_size_of(const Json& value) {
  constexpr std::uint64_t kLeast = 4096;  // less would be rotating and nothing else
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump() + "B";
  if (text == "off") return 0;
  auto amount = parse_memory(text);
  if (amount && amount->bytes >= kLeast) return amount->bytes;
  return wrong("log_size", "a size of at least 4KiB, such as \"64MiB\", or \"off\"");
}

template <class To, class From>
Result<void> store(To& to, Result<From> value) {
  if (!value) return pass_on(value);
  to = static_cast<To>(std::move(*value));
  return {};
}

Result<void> set_command(JobSpec& spec, const Json& value) {
  if (value.is_string()) {
    spec.command.clear();
    return store(spec.shell, text_of("command", value));
  }
  spec.shell.clear();
  return store(spec.command, texts_of("command", value));
}

Result<void> set_env(JobSpec& spec, const Json& value) {
  if (!value.is_object()) return wrong("env", "an object of names and texts");
  for (const auto& [name, text] : value.items()) {
    if (name.empty() || name.find('=') != name.npos || name.find('\0') != name.npos) {
      return wrong("env", "of names without \"=\"");
    }
    auto set = store(spec.env[name], text_of("env", text));
    if (!set) return set;
  }
  return {};
}

Result<void> set_devices(JobSpec& spec, const Json& value) {
  if (value.is_string()) return store(spec.devices, parse_devices(value.get<std::string>()));
  return store(spec.devices, numbers_of<int>("devices", value, 0, 65535));
}

using Set = std::function<Result<void>(JobSpec&, const Json&)>;

Set text_into(std::string_view key, std::string JobSpec::*member) {
  return [=](JobSpec& spec, const Json& value) { return store(spec.*member, text_of(key, value)); };
}

template <class Number>
Set number_into(std::string_view key, Number JobSpec::*member, std::int64_t least,
                std::int64_t most) {
  return [=](JobSpec& spec, const Json& value) {
    return store(spec.*member, number_of(key, value, least, most));
  };
}

Set ids_into(std::string_view key, std::vector<JobId> JobSpec::*member) {
  return [=](JobSpec& spec, const Json& value) {
    return store(spec.*member, numbers_of<JobId>(key, value, 1, INT64_MAX));
  };
}

const std::vector<std::pair<std::string_view, Set>>& setters() {
  static const std::vector<std::pair<std::string_view, Set>> all = {
      {"name", text_into("name", &JobSpec::name)},
      {"command", set_command},
      {"env", set_env},
      {"cwd", text_into("cwd", &JobSpec::directory)},
      {"venv", text_into("venv", &JobSpec::venv)},
      {"log_dir", text_into("log_dir", &JobSpec::log_directory)},
      {"log", text_into("log", &JobSpec::log_file)},
      {"log_size",
       [](JobSpec& spec, const Json& value) {
         return store(spec.log_limits.bytes, log_size_of(value));
       }},
      {"log_keep",
       [](JobSpec& spec, const Json& value) {
         return store(spec.log_limits.keep, number_of("log_keep", value, 0, kMostLogs));
       }},
      {"memory",
       [](JobSpec& spec, const Json& value) { return store(spec.memory, memory_of(value)); }},
      {"jobs_per_gpu", number_into("jobs_per_gpu", &JobSpec::jobs_per_gpu, 1, 4096)},
      {"gpus", number_into("gpus", &JobSpec::gpus, 1, kMostGpus)},
      {"devices", set_devices},
      {"duration", [](JobSpec& spec,
                      const Json& value) { return store(spec.duration_ns, duration_of(value)); }},
      {"priority", number_into("priority", &JobSpec::priority, -kMostPriority, kMostPriority)},
      {"after", ids_into("after", &JobSpec::after)},
      {"after_ok", ids_into("after_ok", &JobSpec::after_ok)},
      {"retries", number_into("retries", &JobSpec::retries, 0, kMostRetries)},
      {"on_finish", text_into("on_finish", &JobSpec::on_finish)},
  };
  return all;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

template <class Number>
Result<std::vector<Number>> parse_list(std::string_view text, std::string_view what, Number least) {
  std::vector<Number> numbers;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string_view word = trimmed(text.substr(at, end - at));
    Number number = 0;
    auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || stop != word.data() + word.size() || number < least) {
      return fail(ErrorCode::kInvalid, fmt::format("invalid {} {}", what, chronos::quoted(word)));
    }
    numbers.push_back(number);
    at = end + 1;
  }
  return numbers;
}

}  // namespace

Json spec_json(const JobSpec& spec) {
  Json json;
  if (!spec.name.empty()) json["name"] = spec.name;
  json["command"] = spec.shell.empty() ? Json(spec.command) : Json(spec.shell);
  if (!spec.env.empty()) json["env"] = spec.env;
  json["cwd"] = spec.directory;
  if (!spec.venv.empty()) json["venv"] = spec.venv;
  if (!spec.log_directory.empty()) json["log_dir"] = spec.log_directory;
  if (!spec.log_file.empty()) json["log"] = spec.log_file;
  json["log_size"] =
      spec.log_limits.bytes == 0 ? Json("off") : Json(fmt::format("{}B", spec.log_limits.bytes));
  json["log_keep"] = spec.log_limits.keep;
  if (spec.memory.bytes > 0) {
    json["memory"] = fmt::format("{}B", spec.memory.bytes);
  } else {
    json["memory"] = spec.memory.fraction;
  }
  if (spec.jobs_per_gpu > 0) json["jobs_per_gpu"] = spec.jobs_per_gpu;
  json["gpus"] = spec.gpus;
  if (!spec.devices.empty()) json["devices"] = spec.devices;
  if (spec.duration_ns > 0) {
    json["duration"] = fmt::format("{}.{:09}", spec.duration_ns / kNanosPerSecond,
                                   spec.duration_ns % kNanosPerSecond);
  }
  if (spec.priority != 0) json["priority"] = spec.priority;
  if (!spec.after.empty()) json["after"] = spec.after;
  if (!spec.after_ok.empty()) json["after_ok"] = spec.after_ok;
  if (spec.retries > 0) json["retries"] = spec.retries;
  if (!spec.on_finish.empty()) json["on_finish"] = spec.on_finish;
  return json;
}

Result<JobSpec> spec_from_json(const Json& json, const JobSpec& base) {
  if (!json.is_object()) return fail(ErrorCode::kInvalid, "a job must be a JSON object");
  JobSpec spec = base;
  for (const auto& [key, value] : json.items()) {
    const std::string& name = key;
    auto found = std::find_if(setters().begin(), setters().end(),
                              [&](const auto& setter) { return setter.first == name; });
    if (found == setters().end()) {
      std::string known;
      for (const auto& setter : setters()) {
        known += (known.empty() ? "" : ", ") + std::string(setter.first);
      }
      return fail(ErrorCode::kInvalid, "unknown key " + chronos::quoted(key),
                  "a job has: " + known);
    }
    auto set = found->second(spec, value);
    if (!set) return pass_on(set);
  }
  // A share of jobs_per_gpu is what Kairos gives each: of 95 % of the device.
  if (json.contains("jobs_per_gpu") && !json.contains("memory")) {
    spec.memory = {0.95 / spec.jobs_per_gpu, 0};
  }
  return spec;
}

Result<JobSpec> spec_from_line(std::string_view line, const JobSpec& base) {
  const std::string_view text = trimmed(line);
  if (text.empty() || text[0] != '{') {
    JobSpec spec = base;
    spec.command.clear();
    spec.shell = std::string(text);
    return spec;
  }
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return fail(ErrorCode::kInvalid, "this is no JSON object");
  return spec_from_json(json, base);
}

Result<void> check_spec(const JobSpec& spec) {
  if (spec.command.empty() && trimmed(spec.shell).empty()) {
    return fail(ErrorCode::kInvalid, "no command to run");
  }
  if (spec.shell.empty() && spec.command[0].empty()) {
    return fail(ErrorCode::kInvalid, "the name of the program is empty");
  }
  if (spec.name.size() > 200 || spec.name == "." || spec.name == ".." ||
      spec.name.find('/') != spec.name.npos) {
    return fail(ErrorCode::kInvalid, "invalid name " + chronos::quoted(spec.name),
                "it becomes part of a file's name: at most 200 bytes, no \"/\"");
  }
  if (!spec.devices.empty() && spec.devices.size() < spec.gpus) {
    return fail(ErrorCode::kInvalid, fmt::format("{} devices wanted, but only {} named", spec.gpus,
                                                 spec.devices.size()));
  }
  for (const std::string* path :
       {&spec.directory, &spec.venv, &spec.log_directory, &spec.log_file}) {
    if (!path->empty() && (*path)[0] != '/') {
      return fail(ErrorCode::kInvalid, chronos::quoted(*path) + " is no absolute path");
    }
  }
  return {};
}

Result<std::vector<int>> parse_devices(std::string_view text) {
  if (text.empty() || text == "any") return std::vector<int>();
  auto devices = parse_list<int>(text, "device", 0);
  if (!devices) return devices;
  std::sort(devices->begin(), devices->end());
  devices->erase(std::unique(devices->begin(), devices->end()), devices->end());
  return devices;
}

Result<std::vector<JobId>> parse_job_ids(std::string_view text) {
  return parse_list<JobId>(text, "job", 1);
}

Result<JobId> parse_job_id(std::string_view text) {
  auto ids = parse_job_ids(text);
  if (!ids) return pass_on(ids);
  if (ids->size() != 1) return fail(ErrorCode::kInvalid, "invalid job " + chronos::quoted(text));
  return ids->front();
}

}  // namespace chronos::queue
