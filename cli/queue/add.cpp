// `chronos queue add`.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <initializer_list>

#include "cli/environment.hpp"
#include "cli/queue/commands.hpp"
#include "cli/queue/link.hpp"
#include "cli/queue/prepare.hpp"
#include "cli/queue/schedule.hpp"
#include "cli/run.hpp"
#include "core/inventory.hpp"
#include "core/registry.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

struct AddArguments {
  std::string name, memory, devices, duration, directory, venv, log_directory, log_file, log_size,
      on_finish;
  std::vector<std::string> env, after, after_ok;
  unsigned gpus = 1, jobs_per_gpu = 0, retries = 0, log_keep = LogLimits().keep;
  std::int64_t priority = 0;
  bool shell = false, no_start = false;
};

Result<std::string> absolute(const std::string& path) {
  if (path.empty() || path[0] == '/') return path;
  char folder[PATH_MAX];
  if (::getcwd(folder, sizeof folder) == nullptr) {
    return fail(ErrorCode::kSystem, "this folder has no name any more: " + errno_text(errno));
  }
  return path == "." ? std::string(folder) : fmt::format("{}/{}", folder, path);
}

Result<void> make_absolute(JobSpec& spec) {
  for (std::string* path : {&spec.directory, &spec.venv, &spec.log_directory, &spec.log_file}) {
    auto full = absolute(*path);
    if (!full) return pass_on(full);
    *path = std::move(*full);
  }
  return {};
}

// What the options say, as the JSON that a line would say it in: one reader for both.
Result<JobSpec> base_of(const AddArguments& given) {
  Json json = Json::object();
  auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) json[key] = value;
  };
  text("name", given.name);
  text("memory", given.memory);
  text("devices", given.devices);
  text("duration", given.duration);
  text("cwd", given.directory);
  text("venv", given.venv);
  text("log_dir", given.log_directory);
  text("log", given.log_file);
  text("log_size", given.log_size);
  text("on_finish", given.on_finish);
  json["gpus"] = given.gpus;
  json["retries"] = given.retries;
  json["log_keep"] = given.log_keep;
  json["priority"] = given.priority;
  if (given.jobs_per_gpu > 0) json["jobs_per_gpu"] = given.jobs_per_gpu;
  for (const std::string& entry : given.env) {
    const std::size_t equals = entry.find('=');
    if (equals == 0 || equals == entry.npos) {
      return fail(ErrorCode::kInvalid,
                  "invalid variable " + chronos::quoted(entry) + ": it must be NAME=VALUE");
    }
    json["env"][entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  auto spec = spec_from_json(json);
  if (!spec) return spec;
  for (const auto& [words, ids] :
       {std::pair{&given.after, &spec->after}, std::pair{&given.after_ok, &spec->after_ok}}) {
    for (const std::string& word : *words) {
      auto some = parse_job_ids(word);
      if (!some) return pass_on(some);
      ids->insert(ids->end(), some->begin(), some->end());
    }
  }
  if (spec->directory.empty()) spec->directory = ".";
  return spec;
}

Result<std::string> read_all(int fd) {
  std::string text;
  char buffer[65536];
  for (;;) {
    const ssize_t got = retry_eintr([&] { return ::read(fd, buffer, sizeof buffer); });
    if (got < 0) {
      return fail(ErrorCode::kSystem, "cannot read standard input: " + errno_text(errno));
    }
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<std::vector<JobSpec>> read_jobs(const JobSpec& base) {
  auto text = read_all(STDIN_FILENO);
  if (!text) return pass_on(text);
  std::vector<JobSpec> specs;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    const std::string_view line = std::string_view(*text).substr(at, end - at);
    at = end + 1;
    ++number;
    // Empty lines and comments make a file readable.
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos || line[first] == '#') continue;
    auto spec = spec_from_line(line, base);
    Result<void> good = spec ? make_absolute(*spec) : Result<void>(pass_on(spec));
    if (good) good = check_spec(*spec);
    if (!good) {
      good.error().message = fmt::format("line {}: {}", number, good.error().message);
      return pass_on(good);
    }
    specs.push_back(std::move(*spec));
  }
  if (specs.empty()) return fail(ErrorCode::kInvalid, "no job in the standard input");
  return specs;
}

// What can never run is refused now and not found waiting tomorrow.
Result<void> check_devices(const std::vector<JobSpec>& specs) {
  auto registry = Registry::open();
  if (!registry) return pass_on(registry);
  auto inventory = load_inventory(registry->state());
  if (!inventory) return pass_on(inventory);
  std::vector<DeviceLoad> devices;
  for (const Device& one : inventory->devices) {
    devices.push_back({one.index, one.total_bytes, one.total_bytes, 0, {}});
  }
  for (const JobSpec& spec : specs) {
    for (int index : spec.devices) {
      auto known = find_device(*inventory, index);
      if (known) continue;
      known.error().code = ErrorCode::kInvalid;
      return pass_on(known);
    }
    Candidate candidate;
    candidate.memory = spec.memory;
    candidate.gpus = spec.gpus;
    candidate.devices = spec.devices;
    if (could_ever_fit(candidate, devices)) continue;
    return fail(ErrorCode::kNoCapacity,
                fmt::format("no {} device{} here ha{} {}", spec.gpus, spec.gpus == 1 ? "" : "s",
                            spec.gpus == 1 ? "s" : "ve", spec.memory_text()),
                "`chronos stats` shows what they have");
  }
  return {};
}

std::string added_text(const std::vector<JobId>& ids) {
  if (ids.size() == 1) return fmt::format("Queued job {}\n", ids[0]);
  return fmt::format("Queued {} jobs: {}-{}\n", ids.size(), ids.front(), ids.back());
}

Result<std::vector<JobId>> add(const AddArguments& given, const std::vector<std::string>& command) {
  auto base = base_of(given);
  if (!base) return pass_on(base);
  std::vector<JobSpec> specs;
  if (command == std::vector<std::string>{"-"}) {
    auto read = read_jobs(*base);
    if (!read) return pass_on(read);
    specs = std::move(*read);
  } else {
    if (given.shell) {
      if (command.size() != 1) {
        return fail(ErrorCode::kInvalid, "--shell takes the line as one argument",
                    "put it in quotes");
      }
      base->shell = command[0];
    } else {
      base->command = command;
    }
    auto full = make_absolute(*base);
    if (!full) return pass_on(full);
    auto good = check_spec(*base);
    if (!good) return pass_on(good);
    specs.push_back(std::move(*base));
  }
  auto possible = check_devices(specs);
  if (!possible) return pass_on(possible);
  auto queue = open_queue();
  if (!queue) return pass_on(queue);
  auto ids = queue->store.add(specs, join_environment(cli::own_environment()));
  if (!ids) return ids;
  if (!given.no_start) {
    auto running = ensure_runner(queue->place);
    if (!running) {
      // They are in the queue all the same.
      cli::print_error_line(
          fmt::format("queued, but nothing runs them: {}", running.error().message));
    }
  }
  return ids;
}

void add_options(CLI::App& app, AddArguments& given) {
  app.add_option("--memory", given.memory, "Share or size on each device (all of it)")
      ->type_name("M");
  app.add_option("--jobs-per-gpu", given.jobs_per_gpu,
                 "At most N such jobs on a device, each with an Nth of 95 % of it")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  app.add_option("--gpus", given.gpus, "Several devices at once (1)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  app.add_option("--device", given.devices, "Of these devices only: 0,2 (any)")->type_name("LIST");
  app.add_option("--duration", given.duration, "Ended after this time (as long as it takes)")
      ->type_name("T");
  app.add_option("--name", given.name, "A name for it and its log")->type_name("NAME");
  app.add_option("--priority", given.priority, "Higher ones go first (0)")->type_name("N");
  app.add_option("--after", given.after, "Once these jobs are over")->type_name("IDS");
  app.add_option("--after-ok", given.after_ok, "Once these are done; cancelled if one is not")
      ->type_name("IDS");
  app.add_option("--retries", given.retries, "Try again if it fails or is lost (0)")
      ->type_name("N");
  app.add_option("--on-finish", given.on_finish, "A shell line to run when it is over")
      ->type_name("LINE");
  app.add_option("--cwd", given.directory, "Where it runs (here)")->type_name("DIR");
  app.add_option("--venv", given.venv, "Virtual environment to run it in")->type_name("DIR");
  app.add_option("--env", given.env, "A variable more; may be given several times")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  app.add_option("--log-dir", given.log_directory, "Folder for its log")->type_name("DIR");
  app.add_option("--log", given.log_file, "This very file as its log")->type_name("FILE");
  app.add_option("--log-size", given.log_size,
                 "So much of its log in a file; then it is FILE.1, and so on (64MiB; or off)")
      ->type_name("M");
  app.add_option("--log-keep", given.log_keep, "How many of these older files are kept (4)")
      ->type_name("N");
  app.add_flag("--shell", given.shell, "The command is one line for the shell");
  app.add_flag("--no-start", given.no_start, "Leave it to a runner that is there or comes");
}

}  // namespace

int add_command(const cli::Invocation& invocation) {
  AddArguments given;
  cli::Arguments arguments("queue add", "[options] -- CMD...  |  [options] -",
                           "Put a job into the queue, or one for each line of standard input.");
  add_options(arguments.app(), given);
  arguments.add_json();
  arguments.add_examples(
      "With `-` each line is a shell line, or a JSON object with any of: command, name, env, cwd,\n"
      "venv, log_dir, log, log_size, log_keep, memory, jobs_per_gpu, gpus, devices, duration,\n"
      "priority, after, after_ok, retries, on_finish. The options hold for lines that say nothing\n"
      "else. A job runs with the environment of this command and sees its own devices only;\n"
      "CUDA_VISIBLE_DEVICES has their numbers. --on-finish finds CHRONOS_JOB_ID, _NAME, _COMMAND,\n"
      "_STATE, _EXIT_STATUS, _REASON, _ATTEMPT, _DEVICES and _LOG in its environment.");
  std::vector<std::string> options = invocation.arguments;
  std::vector<std::string> command;
  // A lone "-" is no option of the parser's.
  auto dash = std::find_if(options.begin(), options.end(),
                           [](const std::string& word) { return word == "-" || word == "--"; });
  if (dash != options.end() && *dash == "-") {
    command = {"-"};
    options.erase(dash);
  } else {
    command = cli::take_command(arguments.app(), options);
  }
  if (auto status = arguments.parse(options)) return *status;
  auto ids = add(given, command);
  if (!ids) return cli::report(ids.error());
  if (!arguments.json()) return cli::print(added_text(*ids));
  Json json = json_answer();
  json["jobs"] = *ids;
  return cli::print(cli::to_text(json));
}

}  // namespace chronos::queue
