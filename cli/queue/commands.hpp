// `chronos queue ...`: a file for each few commands. Each parses its own arguments, prints, and
// returns the exit status of the process.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/arguments.hpp"
#include "cli/description.hpp"
#include "cli/queue/place.hpp"
#include "cli/queue/store.hpp"
#include "cli/verbs.hpp"

namespace chronos::queue {

// The words behind "queue".
int queue_command(const cli::Invocation& invocation);

// The commands, in the order of the help.
std::span<const cli::Verb> queue_commands();

int add_command(const cli::Invocation& invocation);
int list_command(const cli::Invocation& invocation);
int show_command(const cli::Invocation& invocation);
int logs_command(const cli::Invocation& invocation);
int wait_command(const cli::Invocation& invocation);
int cancel_command(const cli::Invocation& invocation);
int pause_command(const cli::Invocation& invocation);
int resume_command(const cli::Invocation& invocation);
int retry_command(const cli::Invocation& invocation);
int clear_command(const cli::Invocation& invocation);

// "1", "3-5", several of them. Errors: kInvalid.
Result<std::vector<JobId>> parse_ids(const std::vector<std::string>& words);

// `chronosd complete|manual ...`: what `chronos complete` and `chronos manual` hand on, and the same
// for chronosd itself, which `daemon` describes.
int complete_command(const cli::Invocation& invocation, const cli::Description& daemon);
int manual_command(const cli::Invocation& invocation, const cli::Description& daemon);

// The queue of this user, opened.
struct OpenQueue {
  Place place;
  Store store;
};
Result<OpenQueue> open_queue();

}  // namespace chronos::queue
