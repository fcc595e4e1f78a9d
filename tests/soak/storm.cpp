// The kill storm of one user, for scripts/soak:
//
//   chronos_soak_storm                        the keeper: makes processes, kills, stops, continues
//   chronos_soak_storm work INDEX TOKEN LANE SEED    one of them, started anew by exec
//   chronos_soak_storm fill BYTES DEVICE      allocates that much in one buffer: exit status 0, or
//   3
//                                             if it was refused
//
// The environment says through which door Chronos is reached, and names the board. The keeper ends
// when its standard input does, after all its processes. Exit status 1 if it could not go on.
#include <CL/cl.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/soak/board.hpp"

namespace chronos::soak {
namespace {

std::string program;  // this one, absolute
std::string command;  // chronos

constexpr std::uint64_t kMillisecond = 1000000;

// Gone, or a zombie without other threads: nothing of it can run any more.
bool is_gone(pid_t pid) {
  char path[64], text[512];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return true;
  const std::size_t got = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  if (got == 0) return true;
  text[got] = '\0';
  const char* end = std::strrchr(text, ')');
  if (end == nullptr || end[1] == '\0' || end[2] != 'Z') return false;
  std::snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR* tasks = opendir(path);
  if (tasks == nullptr) return true;
  int count = 0;
  while (const dirent* task = readdir(tasks)) count += task->d_name[0] != '.' ? 1 : 0;
  closedir(tasks);
  return count <= 1;
}

class Keeper {
 public:
  explicit Keeper(Board& board) : board_(board), random_(board.header.seed) {}
  int run();

 private:
  struct Pause {
    std::size_t index;
    std::uint64_t word, until;
  };

  void spawn();
  [[noreturn]] void become(std::size_t index, std::uint64_t token, std::uint64_t lane,
                           std::uint64_t kind, std::uint64_t inner, std::uint64_t inner_token,
                           std::uint64_t seed);
  void act();
  bool kill_one(std::size_t index, std::uint64_t word);
  void stop_one(std::size_t index, std::uint64_t word);
  void continue_due(std::uint64_t now, bool all);
  void reap();
  void judge_status(pid_t pid, int status);
  void sweep(std::uint64_t now);
  void look_for_hang(std::size_t index, std::uint64_t now);
  void end_all();
  std::size_t pick(std::uint64_t& word);

  Board& board_;
  Random random_;
  std::vector<Pause> paused_;
  std::uint64_t alive_ = 0, pocl_alive_ = 0;
};

void Keeper::become(std::size_t index, std::uint64_t token, std::uint64_t lane, std::uint64_t kind,
                    std::uint64_t inner, std::uint64_t inner_token, std::uint64_t seed) {
  take_entry(board_, index, token);
  Lane& place = board_.lanes[lane];
  const bool is_pocl = place.is_pocl.load() != 0;
  // By name, or as whoever owns a partition; now and then by the name of one that is gone.
  const std::uint64_t draw = seed % 16;
  const std::uint64_t generation = place.generation.load();
  char name[80];
  std::snprintf(
      name, sizeof name, "u%llul%llug%llu", static_cast<unsigned long long>(board_.header.user),
      static_cast<unsigned long long>(lane),
      static_cast<unsigned long long>(generation - (draw == 0 && generation > 1 ? 1 : 0)));
  if (is_pocl) setenv("OCL_ICD_VENDORS", getenv("CHRONOS_SOAK_POCL"), 1);
  if (kind == 2) {
    const char* words[] = {command.c_str(), "run", "--partition", name, "--", nullptr};
    exec_worker(board_, inner, inner_token, lane, seed, words);
  } else {
    if (draw < 10) setenv("CHRONOS_PARTITION", name, 1);
    if (kind == 0) work(board_, index, lane, seed);
    exec_worker(board_, index, token, lane, seed);
  }
  std::fprintf(stderr, "soak: exec failed: %s\n", std::strerror(errno));
  _exit(9);
}

void Keeper::spawn() {
  std::uint64_t lane = random_.below(kLanes);
  const std::uint64_t draw = random_.below(100), seed = random_.next();
  std::uint64_t kind = draw < 80 ? 0 : draw < 94 ? 1 : 2;  // fork; fork, exec; chronos run
  for (std::size_t i = 0; i < kLanes; ++i, lane = (lane + 1) % kLanes) {
    const Lane& place = board_.lanes[lane];
    if (place.open.load() != 0 && (place.is_pocl.load() == 0 || pocl_alive_ == 0)) break;
  }
  const Lane& place = board_.lanes[lane];
  if (place.open.load() == 0) return;
  if (place.is_pocl.load() != 0) {
    if (pocl_alive_ != 0) return;
    kind = std::max<std::uint64_t>(kind, 1);  // its threads do not survive a fork
  }
  std::uint64_t token = 0, inner_token = 0;
  const std::size_t index = claim_entry(board_, lane, token);
  if (index == kEntries) return;
  const std::size_t inner = kind == 2 ? claim_entry(board_, lane, inner_token) : kEntries;
  if (kind == 2 && inner == kEntries) kind = 1;
  const pid_t child = fork();
  if (child == 0) become(index, token, lane, kind, inner, inner_token, seed);
  if (child < 0) {
    board_.entries[index].word = 0;
    if (inner != kEntries) board_.entries[inner].word = 0;
    return;
  }
  ++alive_;
  if (place.is_pocl.load() != 0) ++pocl_alive_;
  board_.count(kForks);
  if (kind == 2) board_.count(kRuns);
}

// A process to be treated, or kEntries.
std::size_t Keeper::pick(std::uint64_t& word) {
  const std::size_t start = random_.below(kEntries);
  for (std::size_t i = 0; i < kEntries; ++i) {
    const std::size_t index = (start + i) % kEntries;
    word = board_.entries[index].word.load();
    if (pid_of(word) != 0 && board_.entries[index].killed.load() == 0) return index;
  }
  return kEntries;
}

bool Keeper::kill_one(std::size_t index, std::uint64_t word) {
  Entry& entry = board_.entries[index];
  if (entry.word.load() != word || entry.killed.exchange(1) != 0) return false;
  const bool in_call = entry.call_started.load() != 0;
  if (kill(pid_of(word), SIGKILL) != 0) return false;
  board_.count(kKills);
  if (in_call) board_.count(kKillsInCall);
  if (entry.stops.load() % 2 != 0) board_.count(kKillsStopped);
  return true;
}

void Keeper::stop_one(std::size_t index, std::uint64_t word) {
  Entry& entry = board_.entries[index];
  if (entry.stops.load() % 2 != 0) return;
  entry.stops.fetch_add(1);
  if (kill(pid_of(word), SIGSTOP) != 0) return;
  board_.count(kStops);
  const std::uint64_t draw = random_.below(100);
  const std::uint64_t most = draw < 80 ? 100 : 1200;  // milliseconds
  paused_.push_back({index, word, monotonic_ns() + random_.below(most * kMillisecond)});
}

void Keeper::continue_due(std::uint64_t now, bool all) {
  for (std::size_t i = 0; i < paused_.size();) {
    const Pause pause = paused_[i];
    Entry& entry = board_.entries[pause.index];
    const bool is_same = entry.word.load() == pause.word && entry.killed.load() == 0;
    if (is_same && !all && now < pause.until) {
      ++i;
      continue;
    }
    if (is_same) {
      std::uint64_t started = entry.call_started.load();
      if (started != 0) entry.call_started.compare_exchange_strong(started, now);
      entry.stops.fetch_add(1);
      if (kill(pid_of(pause.word), SIGCONT) == 0) board_.count(kContinues);
    }
    paused_[i] = paused_.back();
    paused_.pop_back();
  }
}

void Keeper::act() {
  std::uint64_t word = 0;
  const std::size_t index = pick(word);
  if (index == kEntries) return;
  if (random_.below(100) < 78) {
    kill_one(index, word);
  } else {
    stop_one(index, word);
  }
}

void Keeper::judge_status(pid_t pid, int status) {
  if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM) {
    board_.count(kCrashes);
    std::fprintf(stderr, "soak: pid %d was ended by signal %d\n", pid, WTERMSIG(status));
  } else if (WIFEXITED(status)) {
    // `chronos run`: 125 if its partition is gone, else what its program ended with.
    const int code = WEXITSTATUS(status);
    if (code != 0 && code != 125 && code != 128 + SIGKILL && code != 128 + SIGTERM) {
      board_.count(kMistakes);
      std::fprintf(stderr, "soak: pid %d ended with status %d\n", pid, code);
    }
  }
}

void Keeper::reap() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    judge_status(pid, status);
    for (Entry& entry : board_.entries) {
      std::uint64_t word = entry.word.load();
      if (pid_of(word) == pid) entry.word.compare_exchange_strong(word, 0);
    }
  }
}

void Keeper::look_for_hang(std::size_t index, std::uint64_t now) {
  Entry& entry = board_.entries[index];
  const std::uint64_t word = entry.word.load(), stops = entry.stops.load();
  const std::uint64_t started = entry.call_started.load();
  if (started == 0 || stops % 2 != 0 || entry.killed.load() != 0 || now < started) return;
  if (now - started < board_.header.hang_ns.load() || entry.reported.load() != 0) return;
  if (entry.word.load() != word || entry.stops.load() != stops || is_gone(pid_of(word))) return;
  if (entry.call_started.load() != started) return;
  entry.reported = 1;
  board_.count(kHangs);
  std::fprintf(stderr, "soak: pid %d hangs in a call for %llu ms on lane %llu\n", pid_of(word),
               static_cast<unsigned long long>((now - started) / kMillisecond),
               static_cast<unsigned long long>(entry.lane.load()));
}

// Closed lanes are emptied, those who are gone forgotten, those who hang found.
void Keeper::sweep(std::uint64_t now) {
  std::uint64_t left[kLanes] = {};
  alive_ = pocl_alive_ = 0;
  std::uint64_t open[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) open[i] = board_.lanes[i].open.load();
  for (std::size_t i = 0; i < kEntries; ++i) {
    Entry& entry = board_.entries[i];
    std::uint64_t word = entry.word.load();
    if (word == 0) continue;
    const std::uint64_t lane = entry.lane.load() % kLanes;
    if (pid_of(word) == 0) {
      // Its maker may have been killed before it made it. If not, it ends when it comes.
      const bool is_old = now > entry.claimed_at.load() + 10000 * kMillisecond;
      if (open[lane] != 0 && !is_old) {
        ++left[lane];
      } else if (!entry.word.compare_exchange_strong(word, 0)) {
        ++left[lane];
      }
      continue;
    }
    if (is_gone(pid_of(word))) {
      entry.word.compare_exchange_strong(word, 0);
      continue;
    }
    ++left[lane];
    ++alive_;
    if (board_.lanes[lane].is_pocl.load() != 0) ++pocl_alive_;
    if (open[lane] == 0) kill_one(i, word);
    look_for_hang(i, now);
  }
  const std::uint64_t number = board_.header.sweeps.fetch_add(1) + 1;
  for (std::size_t i = 0; i < kLanes; ++i) {
    if (open[i] == 0 && left[i] == 0) board_.lanes[i].emptied = number;
  }
}

void Keeper::end_all() {
  for (Lane& lane : board_.lanes) lane.open = 0;
  for (;;) {
    reap();
    const std::uint64_t now = monotonic_ns();
    continue_due(now, true);
    sweep(now);
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == ECHILD) break;
    if (pid > 0) judge_status(pid, status);
    usleep(2000);
  }
}

int Keeper::run() {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return 1;
  // The drivers are loaded once, for all that are forked; partitions are looked up by each.
  cl_uint platforms = 0;
  clGetPlatformIDs(0, nullptr, &platforms);
  std::uint64_t next_kill = monotonic_ns(), next_sweep = 0;
  for (;;) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    char ignored[64];
    if (poll(&input, 1, 2) > 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) break;
    const std::uint64_t now = monotonic_ns();
    reap();
    continue_due(now, false);
    if (now >= next_sweep) {
      sweep(now);
      next_sweep = now + 40 * kMillisecond;
    }
    for (int i = 0; i < 4 && alive_ < board_.header.processes.load(); ++i) spawn();
    const std::uint64_t rate = std::max<std::uint64_t>(board_.header.per_mille.load(), 1);
    for (int i = 0; i < 8 && now >= next_kill; ++i) {
      act();
      next_kill += random_.below(2 * 780000000000 / rate);
    }
    next_kill = std::max(next_kill, now > 200 * kMillisecond ? now - 200 * kMillisecond : 0);
  }
  end_all();
  return 0;
}

}  // namespace

void exec_worker(Board& board, std::size_t index, std::uint64_t token, std::uint64_t lane,
                 std::uint64_t seed, const char* const* own_words) {
  std::vector<std::string> words;
  for (; own_words != nullptr && *own_words != nullptr; ++own_words) words.emplace_back(*own_words);
  words.push_back(program);
  words.emplace_back("work");
  for (const std::uint64_t value : {std::uint64_t{index}, token, lane, seed}) {
    words.push_back(std::to_string(value));
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  board.entries[index].call_started = 0;
  board.count(kExecs);
  execv(arguments[0], arguments.data());
}

}  // namespace chronos::soak

int main(int argc, char** argv) {
  using namespace chronos::soak;
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return 1;
  program.assign(path, static_cast<std::size_t>(length));
  if (const char* named = std::getenv("CHRONOS_SOAK_COMMAND")) command = named;
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "fill" && argc == 4) return fill(argv[2], argv[3]);
  Board* board = map_board();
  if (board == nullptr) return 1;
  if (verb.empty()) return Keeper(*board).run();
  if (verb != "work" || argc != 6) {
    std::fprintf(stderr, "usage: %s [work INDEX TOKEN LANE SEED | fill BYTES DEVICE]\n", argv[0]);
    return 2;
  }
  std::uint64_t values[4];
  for (int i = 0; i < 4; ++i) values[i] = std::strtoull(argv[i + 2], nullptr, 10);
  Entry& entry = board->entries[values[0] % kEntries];
  if (entry.word.load() != make_word(values[1], getpid())) {
    take_entry(*board, values[0] % kEntries, values[1]);
  }
  work(*board, values[0] % kEntries, values[2] % kLanes, values[3]);
}
