// Command queues. A command runs when it has been flushed and what it waits for is complete: at
// once in the normal configuration, at clFlush, clFinish, clWaitForEvents or a blocking call in the
// deferred one. Until it has run it holds references on its buffers.
#pragma once

#include <functional>
#include <vector>

#include "tests/fake_driver/objects.hpp"

namespace chronos::fake {

struct Request {
  cl_command_queue queue;
  cl_command_type type;
  cl_uint wait_count = 0;
  const cl_event* wait_list = nullptr;
  cl_event* event = nullptr;
  bool blocking = false;
};

// Checks queue, wait list and buffers, queues `run`, waits for it if blocking.
cl_int submit(const Request& request, std::vector<cl_mem> uses, std::function<void()> run);

// The checks alone, for entries that must look at a buffer before they submit.
cl_int check(const Request& request, const std::vector<cl_mem>& uses);

void flush(cl_command_queue queue);
void finish(cl_command_queue queue);
// Runs whatever has become ready in the context's queues.
void settle(cl_context context);
// Waits for all commands of the context's queues.
void finish_all(cl_context context);

// Sets the final status, tells waiters and callbacks.
void complete(cl_event event, cl_int status);
// Blocks until the event is complete or failed; flushes what it depends on.
void wait_for(cl_event event);
bool is_complete(const _cl_event& event);
cl_event make_event(cl_context context, cl_command_queue queue, cl_command_type type);

}  // namespace chronos::fake
