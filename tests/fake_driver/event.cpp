#include <condition_variable>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/queue.hpp"

namespace chronos::fake {
namespace {

// One for all events: waiting is rare here, and it is never destroyed.
struct Progress {
  std::mutex mutex;
  std::condition_variable changed;
};
Progress& progress() {
  static auto* const instance = new Progress;
  return *instance;
}

}  // namespace

bool is_complete(const _cl_event& event) {
  return event.status.load(std::memory_order_acquire) <= CL_COMPLETE;
}

cl_event make_event(cl_context context, cl_command_queue queue, cl_command_type type) {
  auto* const event = new _cl_event;
  event->context = retain(context);
  event->queue = queue != nullptr ? retain(queue) : nullptr;
  event->type = type;
  return event;
}

void release(cl_event event) {
  if (!drop(event)) return;
  if (event->queue != nullptr) release(event->queue);
  release(event->context);
  delete event;
}

void complete(cl_event event, cl_int status) {
  std::vector<EventCallback> callbacks;
  {
    const std::lock_guard<std::mutex> guard(event->mutex);
    event->status.store(status, std::memory_order_release);
    callbacks.swap(event->callbacks);
  }
  {
    const std::lock_guard<std::mutex> guard(progress().mutex);
    progress().changed.notify_all();
  }
  for (const EventCallback& callback : callbacks) {
    callback.notify(event, status < 0 ? status : callback.status, callback.user_data);
  }
}

// Whoever completes an event that commands of other queues wait for runs them (settle), so a
// waiter has nothing to do but to flush and to sleep.
void wait_for(cl_event event) {
  if (event->queue != nullptr) flush(event->queue);
  settle(event->context);
  std::unique_lock<std::mutex> lock(progress().mutex);
  while (!is_complete(*event)) {
    progress().changed.wait(lock);
    lock.unlock();
    settle(event->context);
    lock.lock();
  }
}

cl_event clCreateUserEvent(cl_context context, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_event>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_event>(errcode_ret, CL_INVALID_CONTEXT);
  cl_event event = make_event(context, nullptr, CL_COMMAND_USER);
  event->status = CL_SUBMITTED;
  return give(event, errcode_ret, CL_SUCCESS);
}

cl_int clSetUserEventStatus(cl_event event, cl_int status) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(event) || event->type != CL_COMMAND_USER) return CL_INVALID_EVENT;
  if (status > CL_COMPLETE) return CL_INVALID_VALUE;
  if (is_complete(*event)) return CL_INVALID_OPERATION;
  cl_context context = retain(event->context);
  complete(event, status);
  settle(context);
  release(context);
  return CL_SUCCESS;
}

cl_int clWaitForEvents(cl_uint count, const cl_event* events) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (count == 0 || events == nullptr) return CL_INVALID_VALUE;
  for (cl_uint i = 0; i < count; ++i) {
    if (!valid(events[i])) return CL_INVALID_EVENT;
    if (events[i]->context != events[0]->context) return CL_INVALID_CONTEXT;
  }
  bool failed = false;
  for (cl_uint i = 0; i < count; ++i) {
    wait_for(events[i]);
    failed = failed || events[i]->status < 0;
  }
  return failed ? CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST : CL_SUCCESS;
}

cl_int clGetEventInfo(cl_event event, cl_event_info name, size_t capacity, void* out,
                      size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(event)) return CL_INVALID_EVENT;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_EVENT_COMMAND_QUEUE:
      return answer.value(event->queue);
    case CL_EVENT_CONTEXT:
      return answer.value(event->context);
    case CL_EVENT_COMMAND_TYPE:
      return answer.value(event->type);
    case CL_EVENT_COMMAND_EXECUTION_STATUS:
      return answer.value(event->status.load());
    case CL_EVENT_REFERENCE_COUNT:
      return answer.value(event->references.load());
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int clRetainEvent(cl_event event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(event)) return CL_INVALID_EVENT;
  retain(event);
  return CL_SUCCESS;
}

cl_int clReleaseEvent(cl_event event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(event)) return CL_INVALID_EVENT;
  release(event);
  return CL_SUCCESS;
}

cl_int clSetEventCallback(cl_event event, cl_int status,
                          void(CL_CALLBACK* notify)(cl_event, cl_int, void*), void* user_data) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(event)) return CL_INVALID_EVENT;
  if (notify == nullptr ||
      (status != CL_COMPLETE && status != CL_RUNNING && status != CL_SUBMITTED)) {
    return CL_INVALID_VALUE;
  }
  {
    const std::lock_guard<std::mutex> guard(event->mutex);
    if (!is_complete(*event)) {
      event->callbacks.push_back({status, notify, user_data});
      return CL_SUCCESS;
    }
  }
  const cl_int reached = event->status;
  notify(event, reached < 0 ? reached : status, user_data);
  return CL_SUCCESS;
}

cl_int clGetEventProfilingInfo(cl_event event, cl_profiling_info name, size_t capacity, void* out,
                               size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(event)) return CL_INVALID_EVENT;
  if (event->queue == nullptr || (event->queue->properties & CL_QUEUE_PROFILING_ENABLE) == 0 ||
      event->status != CL_COMPLETE) {
    return CL_PROFILING_INFO_NOT_AVAILABLE;
  }
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_PROFILING_COMMAND_QUEUED:
      return answer.value(event->times[0].load());
    case CL_PROFILING_COMMAND_SUBMIT:
      return answer.value(event->times[1].load());
    case CL_PROFILING_COMMAND_START:
      return answer.value(event->times[2].load());
    case CL_PROFILING_COMMAND_END:
    case CL_PROFILING_COMMAND_COMPLETE:
      return answer.value(event->times[3].load());
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace chronos::fake
