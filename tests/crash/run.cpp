#include "tests/crash/run.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <new>
#include <sstream>

#include "core/registry_lock.hpp"

namespace chronos::crash {
namespace {

constexpr const char* kHow[] = {"not", "kill", "stop_then_kill", "stop_then_go_on"};
constexpr unsigned kHangSeconds = 60;  // a run takes milliseconds
// Of a charge, a credit, an attach with its reclaim: 12 attempts over a handful of slots each.
constexpr std::uint32_t kMostSteps = 500;

int control_fd() {
  static const int fd = [] {
    const int made = ::memfd_create("crash-control", 0);  // the exec'd victim opens it again
    return ::ftruncate(made, sizeof(Control)) == 0 ? made : -1;
  }();
  return fd;
}

// Others work on the ledger while the victim is stopped, and take no more steps than ever.
void probe_ledger(World& world) {
  static Control counted;
  counted.steps = 0;
  activate(&counted);
  auto place = world.attach(world.a.token);
  if (place != nullptr) {
    const auto outcome = world.place->charge(kMiB);
    if (outcome.admitted()) world.place->credit(kMiB);
    expect(outcome.no_slot == nullptr, "no slot beside a stopped process");
  }
  activate(nullptr);
  expect(counted.steps <= kMostSteps, fmt::format("{} steps on the ledger", counted.steps.load()));
}

// For commands of ours beside a stopped one: who may hold the lock does not let it go.
Control* impatient() {
  static Control control;
  control.faults = static_cast<std::uint32_t>(Fault::no_patience);
  return &control;
}

// A command beside a stopped one gets its way, or is told whom it waits for.
void probe_registry(World& world, pid_t victim) {
  world.list();
  const bool locked = !RegistryLock::try_acquire(world.registry().state()).has_value();
  activate(impatient());
  auto create = [&] { return world.registry().create(world.request(kMiB, "probe")); };
  auto made = create();
  // /proc/locks is no snapshot: while others lock and unlock, a line may be missing from it.
  const std::string who = fmt::format("process {} ", victim);
  const auto names_victim = [&] { return made.error().message.find(who) != std::string::npos; };
  for (int i = 0; locked && !made && !names_victim() && i < 50; ++i) made = create();
  activate(nullptr);
  if (locked) {
    expect(!made && made.error().code == ErrorCode::kBusy, "a locked registry is not busy");
    expect(names_victim(), made.error().message);
  } else if (made) {
    expect(world.registry().release("probe").has_value(), "release of the probe");
  } else {
    expect(made.error().code == ErrorCode::kNoCapacity, made.error().message);
  }
}

// What may happen to it while it does not move. Whether the operation's own outcome can still be
// told from the state.
bool while_stopped(const Run& run, World& world, pid_t victim) {
  const bool waits = std::string_view(run.operation->name) == "wait";
  probe_ledger(world);
  // Whoever is in line has a second to take their turn.
  if (!waits || run.seed % 8 == 1) probe_registry(world, victim);
  if (waits) return true;
  activate(impatient());
  disturb(world, run.operation->about_slots);
  activate(nullptr);
  return false;
}

void run_here(const Run& run, const std::string& directory) {
  ::alarm(kHangSeconds);
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    std::filesystem::remove(file.path());
  }
  auto* control = new (&seen()) Control;
  World world(directory, run.seed, control);
  world.control_path = fmt::format("/proc/{}/fd/{}", ::getpid(), control_fd());
  world.faults = run.operation->faults;
  if (run.operation->before != nullptr) run.operation->before(world);
  if (run.how != How::kNot) {
    control->arm(run.point, run.visit, run.how == How::kKill ? Action::kKill : Action::kStop);
  }
  const pid_t victim = ::fork();
  if (victim == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    run.operation->act(world);
    ::_exit(0);
  }
  siginfo_t info{};
  expect(::waitid(P_PID, static_cast<id_t>(victim), &info, WEXITED | WSTOPPED) == 0, "waitid");
  bool undisturbed = true;
  if (info.si_code == CLD_STOPPED) {
    undisturbed = while_stopped(run, world, victim);
    ::kill(victim, run.how == How::kStopThenGoOn ? SIGCONT : SIGKILL);
    ::waitid(P_PID, static_cast<id_t>(victim), &info, WEXITED);
  }
  const bool was_killed = info.si_code == CLD_KILLED && info.si_status == SIGKILL;
  const bool was_done = info.si_code == CLD_EXITED && info.si_status == 0;
  expect(was_done || (was_killed && control->fired == 1),
         fmt::format("the victim ended by itself: {} {}", info.si_code, info.si_status));
  if (undisturbed && run.operation->after != nullptr) run.operation->after(world);
  check_world(world);
  ::_exit(0);
}

}  // namespace

Control& seen() {
  static auto* control = static_cast<Control*>(
      ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, control_fd(), 0));
  return *control;
}

std::string carry_out(const Run& run, const std::string& directory) {
  seen();
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t runner = ::fork();
  if (runner == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    run_here(run, directory);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[1024];
  ssize_t got = 0;
  while ((got = ::read(ends[0], buffer, sizeof buffer)) > 0) {
    said.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(runner, &status, 0);
  if (WIFSIGNALED(status)) {
    said += WTERMSIG(status) == SIGALRM ? "hangs" : fmt::format("signal {}", WTERMSIG(status));
  }
  return status == 0 || !said.empty() ? said : fmt::format("status {}", status);
}

std::string Run::text() const {
  const char* where = point == kAnyPoint ? "any" : name_of(static_cast<Point>(point));
  return fmt::format("{}:{}:{}:{}:{}", operation->name, seed, where, visit,
                     kHow[static_cast<std::size_t>(how)]);
}

std::optional<Run> Run::parse(const std::string& text) {
  std::istringstream in(text);
  std::string operation, seed, point, visit, how;
  const auto field = [&](std::string& to) { return static_cast<bool>(std::getline(in, to, ':')); };
  if (!(field(operation) && field(seed) && field(point) && field(visit) && field(how))) {
    return std::nullopt;
  }
  Run run;
  for (const Operation& one : operations()) {
    if (one.name == operation) run.operation = &one;
  }
  run.seed = std::strtoull(seed.c_str(), nullptr, 10);
  run.visit = std::atoi(visit.c_str());
  bool known = point == "any";
  for (std::uint32_t i = 0; i < kPoints; ++i) {
    if (point != name_of(static_cast<Point>(i))) continue;
    run.point = i;
    known = true;
  }
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(How::kCount); ++i) {
    if (how == kHow[i]) run.how = static_cast<How>(i);
  }
  if (run.operation == nullptr || !known) return std::nullopt;
  return run;
}

}  // namespace chronos::crash
