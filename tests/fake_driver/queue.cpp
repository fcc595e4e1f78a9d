#include "tests/fake_driver/queue.hpp"

#include <algorithm>
#include <chrono>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"

namespace chronos::fake {
namespace {

cl_ulong now() {
  return static_cast<cl_ulong>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

void execute(Command& command) {
  const bool failed = std::any_of(command.waits.begin(), command.waits.end(),
                                  [](cl_event event) { return event->status.load() < 0; });
  command.event->times[1] = command.event->times[2] = now();
  command.event->status = CL_RUNNING;
  if (!failed && command.run) command.run();
  command.event->times[3] = now();
  // Before the event tells that the command is over: its memory may be free by then.
  for (cl_mem mem : command.uses) release(mem);
  complete(command.event, failed ? CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST : CL_COMPLETE);
  for (cl_event event : command.waits) release(event);
  release(command.event);
}

bool ready(const Command& command) {
  return command.flushed && std::all_of(command.waits.begin(), command.waits.end(),
                                        [](cl_event event) { return is_complete(*event); });
}

// Runs the ready commands at the front of the queue, in order; true if any ran.
bool pump(cl_command_queue queue) {
  bool any = false;
  std::unique_lock<std::mutex> lock(queue->mutex);
  while (!queue->running && !queue->commands.empty() && ready(queue->commands.front())) {
    Command command = std::move(queue->commands.front());
    queue->commands.pop_front();
    queue->running = true;
    lock.unlock();
    execute(command);
    any = true;
    lock.lock();
    queue->running = false;
  }
  return any;
}

// The context's queues, each retained.
std::vector<cl_command_queue> live_queues(cl_context context) {
  std::vector<cl_command_queue> queues;
  const std::lock_guard<std::mutex> guard(context->mutex);
  for (cl_command_queue queue : context->queues) {
    // One on its way to destruction has no commands left.
    cl_uint seen = queue->references.load();
    while (seen != 0 && !queue->references.compare_exchange_weak(seen, seen + 1)) {
    }
    if (seen != 0) queues.push_back(queue);
  }
  return queues;
}

cl_command_queue make(cl_context context, cl_device_id device,
                      cl_command_queue_properties properties) {
  auto* const queue = new _cl_command_queue;
  queue->context = retain(context);
  queue->device = device;
  if (device->parent != nullptr) retain(device);
  queue->properties = properties;
  const std::lock_guard<std::mutex> guard(context->mutex);
  context->queues.insert(queue);
  return queue;
}

cl_int check_new(const _cl_context* context, cl_device_id device,
                 cl_command_queue_properties properties) {
  if (!valid(context)) return CL_INVALID_CONTEXT;
  const auto& devices = context->devices;
  if (!valid(device) || std::find(devices.begin(), devices.end(), device) == devices.end()) {
    return CL_INVALID_DEVICE;
  }
  constexpr cl_command_queue_properties kKnown =
      CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE | CL_QUEUE_PROFILING_ENABLE;
  return (properties & ~kKnown) == 0 ? CL_SUCCESS : CL_INVALID_QUEUE_PROPERTIES;
}

}  // namespace

void release(cl_command_queue queue) {
  if (!drop(queue)) return;
  cl_context context = queue->context;
  {
    const std::lock_guard<std::mutex> guard(context->mutex);
    context->queues.erase(queue);
  }
  release(queue->device);
  delete queue;
  release(context);
}

cl_int check(const Request& request, const std::vector<cl_mem>& uses) {
  if (!valid(request.queue)) return CL_INVALID_COMMAND_QUEUE;
  cl_context context = request.queue->context;
  for (const cl_mem mem : uses) {
    if (!valid(mem)) return CL_INVALID_MEM_OBJECT;
    if (mem->context != context) return CL_INVALID_CONTEXT;
  }
  if ((request.wait_count == 0) != (request.wait_list == nullptr)) {
    return CL_INVALID_EVENT_WAIT_LIST;
  }
  for (cl_uint i = 0; i < request.wait_count; ++i) {
    if (!valid(request.wait_list[i])) return CL_INVALID_EVENT_WAIT_LIST;
    if (request.wait_list[i]->context != context) return CL_INVALID_CONTEXT;
  }
  return CL_SUCCESS;
}

cl_int submit(const Request& request, std::vector<cl_mem> uses, std::function<void()> run) {
  if (const cl_int error = check(request, uses)) return error;
  cl_command_queue queue = request.queue;
  Command command;
  command.event = make_event(queue->context, queue, request.type);
  command.event->times[0] = now();
  command.run = std::move(run);
  command.uses = std::move(uses);
  command.flushed = !driver()->config.deferred;
  for (cl_mem mem : command.uses) retain(mem);
  for (cl_uint i = 0; i < request.wait_count; ++i) {
    command.waits.push_back(retain(request.wait_list[i]));
  }
  cl_event const event = retain(command.event);
  {
    const std::lock_guard<std::mutex> guard(queue->mutex);
    queue->commands.push_back(std::move(command));
  }
  if (request.blocking) {
    wait_for(event);
  } else {
    pump(queue);
  }
  const cl_int status = event->status;
  if (request.event != nullptr) {
    *request.event = event;
  } else {
    release(event);
  }
  return request.blocking && status < 0 ? status : CL_SUCCESS;
}

void flush(cl_command_queue queue) {
  std::vector<cl_command_queue> dependencies;
  {
    const std::lock_guard<std::mutex> guard(queue->mutex);
    for (Command& command : queue->commands) {
      if (command.flushed) continue;
      command.flushed = true;
      for (cl_event event : command.waits) {
        // `event` keeps its queue alive, and this command keeps the event.
        if (event->queue != nullptr && event->queue != queue && !is_complete(*event)) {
          dependencies.push_back(retain(event->queue));
        }
      }
    }
  }
  for (cl_command_queue other : dependencies) {
    flush(other);
    release(other);
  }
  pump(queue);
}

void finish(cl_command_queue queue) {
  cl_event last = nullptr;
  {
    const std::lock_guard<std::mutex> guard(queue->mutex);
    if (!queue->commands.empty()) last = retain(queue->commands.back().event);
  }
  if (last == nullptr) {
    // The last command may still be running in another thread: a marker of our own comes behind it.
    submit({queue, CL_COMMAND_MARKER, 0, nullptr, nullptr, true}, {}, {});
    return;
  }
  wait_for(last);
  release(last);
}

void settle(cl_context context) {
  for (bool any = true; any;) {
    any = false;
    for (cl_command_queue queue : live_queues(context)) {
      any = pump(queue) || any;
      release(queue);
    }
  }
}

void finish_all(cl_context context) {
  for (cl_command_queue queue : live_queues(context)) {
    finish(queue);
    release(queue);
  }
}

cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id device,
                                      cl_command_queue_properties properties, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_command_queue>(errcode_ret, error);
  if (const cl_int error = check_new(context, device, properties)) {
    return refuse<cl_command_queue>(errcode_ret, error);
  }
  return give(make(context, device, properties), errcode_ret, CL_SUCCESS);
}

cl_command_queue clCreateCommandQueueWithProperties(cl_context context, cl_device_id device,
                                                    const cl_queue_properties* properties,
                                                    cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_command_queue>(errcode_ret, error);
  cl_command_queue_properties wanted = 0;
  for (const cl_queue_properties* at = properties; at != nullptr && *at != 0; at += 2) {
    if (at[0] != CL_QUEUE_PROPERTIES) {
      return refuse<cl_command_queue>(errcode_ret, CL_INVALID_VALUE);
    }
    wanted = at[1];
  }
  if (const cl_int error = check_new(context, device, wanted)) {
    return refuse<cl_command_queue>(errcode_ret, error);
  }
  cl_command_queue queue = make(context, device, wanted);
  queue->given = copy_properties(properties);
  return give(queue, errcode_ret, CL_SUCCESS);
}

cl_int clRetainCommandQueue(cl_command_queue queue) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  retain(queue);
  return CL_SUCCESS;
}

// Performs an implicit flush (OpenCL 3.0, 5.1).
cl_int clReleaseCommandQueue(cl_command_queue queue) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  flush(queue);
  release(queue);
  return CL_SUCCESS;
}

cl_int clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info name, size_t capacity,
                             void* out, size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_QUEUE_CONTEXT:
      return answer.value(queue->context);
    case CL_QUEUE_DEVICE:
      return answer.value(queue->device);
    case CL_QUEUE_REFERENCE_COUNT:
      return answer.value(queue->references.load());
    case CL_QUEUE_PROPERTIES:
      return answer.value(queue->properties);
    case CL_QUEUE_PROPERTIES_ARRAY:
      return answer.list(queue->given);
    case CL_QUEUE_DEVICE_DEFAULT:
      return answer.value<cl_command_queue>(nullptr);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int clFlush(cl_command_queue queue) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  flush(queue);
  return CL_SUCCESS;
}

cl_int clFinish(cl_command_queue queue) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  finish(queue);
  return CL_SUCCESS;
}

cl_int clEnqueueMarkerWithWaitList(cl_command_queue queue, cl_uint wait_count,
                                   const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return submit({queue, CL_COMMAND_MARKER, wait_count, wait_list, event}, {}, {});
}

cl_int clEnqueueBarrierWithWaitList(cl_command_queue queue, cl_uint wait_count,
                                    const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return submit({queue, CL_COMMAND_BARRIER, wait_count, wait_list, event}, {}, {});
}

cl_int clEnqueueMarker(cl_command_queue queue, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (event == nullptr) return CL_INVALID_VALUE;
  return submit({queue, CL_COMMAND_MARKER, 0, nullptr, event}, {}, {});
}

cl_int clEnqueueBarrier(cl_command_queue queue) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return submit({queue, CL_COMMAND_BARRIER}, {}, {});
}

cl_int clEnqueueWaitForEvents(cl_command_queue queue, cl_uint count, const cl_event* events) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (count == 0 || events == nullptr) return CL_INVALID_VALUE;
  return submit({queue, CL_COMMAND_BARRIER, count, events}, {}, {});
}

}  // namespace chronos::fake
