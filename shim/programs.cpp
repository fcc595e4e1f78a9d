#include "shim/programs.hpp"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/crash_point.hpp"
#include "shim/contexts.hpp"
#include "shim/guard.hpp"
#include "shim/once.hpp"

namespace chronos::shim {

constinit std::atomic<bool> detail::any_program{false};

namespace {

struct Charge {
  cl_device_id device = nullptr;
  Receipt receipt;
};

struct Counted {
  cl_uint references = 0;
  cl_uint kernels = 0;
  bool building = false;
  bool refused = false;
  std::vector<Charge> charges;
};

struct CountedKernel {
  cl_uint references = 0;
  cl_program program = nullptr;
};

struct Programs {
  std::mutex mutex;
  std::unordered_map<cl_program, Counted> programs;
  std::unordered_map<cl_kernel, CountedKernel> kernels;
};

// Never destroyed, and made anew in a forked child.
constinit std::atomic<Programs*> all_programs{nullptr};
Programs& programs() { return made_once(all_programs); }

Receipts take_all(std::vector<Charge>& charges) {
  Receipts receipts;
  for (const Charge& charge : charges) receipts.push_back(charge.receipt);
  charges.clear();
  return receipts;
}

// Needs the mutex. What is to be given back if nothing keeps the program any more.
Receipts forget_if_gone(Programs& all, cl_program program) {
  auto at = all.programs.find(program);
  if (at == all.programs.end() || at->second.references > 0 || at->second.kernels > 0) return {};
  Receipts receipts = take_all(at->second.charges);
  all.programs.erase(at);
  return receipts;
}

void count(cl_program program, cl_uint references) {
  Programs& all = programs();
  Receipts stale;  // of another program at this address, whose end was not seen
  {
    std::lock_guard lock(all.mutex);
    Counted& counted = all.programs[program];
    stale = take_all(counted.charges);
    counted = Counted{};
    counted.references = references;
    detail::any_program.store(true, std::memory_order_release);
  }
  give_back(stale);
}

bool is_counted(cl_program program) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  return all.programs.contains(program);
}

struct Held {
  cl_device_id device = nullptr;
  const Assignment* assignment = nullptr;
  std::uint64_t bytes = 0;
};

// What the driver says that the program holds on each of its devices. False while it is built.
bool ask_driver(const Table& real, cl_program program, std::vector<Held>& held) {
  std::size_t size = 0;
  if (real.clGetProgramInfo(program, CL_PROGRAM_DEVICES, 0, nullptr, &size) != CL_SUCCESS) {
    return true;
  }
  std::vector<cl_device_id> devices(size / sizeof(cl_device_id));
  if (real.clGetProgramInfo(program, CL_PROGRAM_DEVICES, size, devices.data(), nullptr) !=
      CL_SUCCESS) {
    return true;
  }
  for (cl_device_id device : devices) {
    cl_build_status status = CL_BUILD_NONE;
    real.clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_STATUS, sizeof status, &status,
                               nullptr);
    if (status == CL_BUILD_IN_PROGRESS) return false;
    std::size_t bytes = 0;
    if (status != CL_BUILD_SUCCESS ||
        real.clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_GLOBAL_VARIABLE_TOTAL_SIZE,
                                   sizeof bytes, &bytes, nullptr) != CL_SUCCESS ||
        bytes == 0) {
      continue;
    }
    const Assignment& assignment = assignment_of(real, device);
    if (assignment.is_free()) continue;
    // Sub-devices share what their root device holds.
    cl_device_id root = root_of(real, device);
    auto same = std::find_if(held.begin(), held.end(),
                             [&](const Held& other) { return other.device == root; });
    if (same == held.end()) {
      held.push_back({root, &assignment, bytes});
    } else {
      same->bytes = std::max<std::uint64_t>(same->bytes, bytes);
    }
  }
  return true;
}

// Makes `before` what `held` says, device by device; false if one has no room, with all that is
// charged then in `before`.
bool charge_each(const std::vector<Held>& held, std::vector<Charge>& before) {
  std::vector<Charge> after;
  bool fits = true;
  for (const Held& now : held) {
    auto old = std::find_if(before.begin(), before.end(),
                            [&](const Charge& charge) { return charge.device == now.device; });
    Charge charge{now.device, Receipt()};
    if (old != before.end()) {
      charge.receipt = old->receipt;
      before.erase(old);
    }
    if (charge.receipt.is_charged()) {
      fits = adjust(*now.assignment, now.bytes, charge.receipt);
    } else {
      charge.receipt = reserve(*now.assignment, now.bytes);
      fits = charge.receipt.is_charged();
    }
    if (charge.receipt.is_charged()) after.push_back(charge);
    if (!fits) break;
  }
  if (fits) give_back(take_all(before));
  before.insert(before.end(), after.begin(), after.end());
  return fits;
}

}  // namespace

void note_program(cl_program program) { count(program, 1); }

bool adopt_program(const Table& real, cl_program program) {
  if (program == nullptr) return false;
  if (is_counted(program)) return true;
  Guard guard;
  cl_context context = nullptr;
  cl_uint references = 0;
  if (real.clGetProgramInfo(program, CL_PROGRAM_CONTEXT, sizeof context, &context, nullptr) !=
          CL_SUCCESS ||
      real.clGetProgramInfo(program, CL_PROGRAM_REFERENCE_COUNT, sizeof references, &references,
                            nullptr) != CL_SUCCESS ||
      assignment_of(real, context).is_free()) {
    return false;
  }
  count(program, references);
  return true;
}

void note_build(cl_program program) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.programs.find(program);
  if (at != all.programs.end()) at->second.building = true;
}

bool settle_program(const Table& real, cl_program program) {
  Guard guard;
  std::vector<Held> held;
  if (!ask_driver(real, program, held)) return true;
  CHRONOS_POINT(shim_program_asked);
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.programs.find(program);
  if (at == all.programs.end()) return true;
  Counted& counted = at->second;
  counted.building = false;
  counted.refused = !charge_each(held, counted.charges);
  CHRONOS_POINT(shim_program_charged);
  if (counted.refused) give_back(take_all(counted.charges));
  return !counted.refused;
}

bool is_program_refused(const Table& real, cl_program program) {
  if (!counting_programs()) return false;
  Programs& all = programs();
  {
    std::lock_guard lock(all.mutex);
    auto at = all.programs.find(program);
    if (at == all.programs.end()) return false;
    if (!at->second.building) return at->second.refused;
  }
  return !settle_program(real, program);
}

void note_program_retain(cl_program program) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.programs.find(program);
  if (at != all.programs.end()) ++at->second.references;
}

Receipts note_program_release(cl_program program) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.programs.find(program);
  if (at == all.programs.end() || at->second.references == 0) return {};
  --at->second.references;
  return forget_if_gone(all, program);
}

void note_kernel(cl_kernel kernel, cl_program program) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.programs.find(program);
  if (at == all.programs.end() || at->second.charges.empty()) return;
  ++at->second.kernels;
  all.kernels[kernel] = {1, program};
}

void note_clone(cl_kernel kernel, cl_kernel source) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.kernels.find(source);
  if (at == all.kernels.end()) return;
  cl_program program = at->second.program;
  ++all.programs[program].kernels;
  all.kernels[kernel] = {1, program};
}

void note_kernel_retain(cl_kernel kernel) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.kernels.find(kernel);
  if (at != all.kernels.end()) ++at->second.references;
}

Receipts note_kernel_release(cl_kernel kernel) {
  Programs& all = programs();
  std::lock_guard lock(all.mutex);
  auto at = all.kernels.find(kernel);
  if (at == all.kernels.end() || --at->second.references > 0) return {};
  cl_program program = at->second.program;
  all.kernels.erase(at);
  --all.programs[program].kernels;
  return forget_if_gone(all, program);
}

void* BuildNotice::word(const std::shared_ptr<BuildNotice>& notice) {
  return new std::shared_ptr<BuildNotice>(notice);
}

void CL_CALLBACK BuildNotice::on_built(cl_program program, void* word) {
  std::unique_ptr<std::shared_ptr<BuildNotice>> own(
      static_cast<std::shared_ptr<BuildNotice>*>(word));
  const std::shared_ptr<BuildNotice> notice = *own;
  if (program != nullptr) {
    notice->note_new(program);
    settle_program(notice->real_, program);
  }
  Guard::Lifted lifted;
  notice->notify_(program, notice->user_data_);
}

void BuildNotice::note_new(cl_program program) {
  if (!is_new_.exchange(false)) return;
  note_program(program);
  note_build(program);
}

void forget_programs_in_child() {
  if (counting_programs()) all_programs.store(new Programs);
}

}  // namespace chronos::shim
