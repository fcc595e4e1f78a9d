// A request beside those in line before it, by one look; shared by admission and waiting.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "core/line.hpp"
#include "core/registry_look.hpp"
#include "core/ticket.hpp"

namespace chronos {

struct Registry::Judged {
  Claim claim;                                 // without devices that the policy forbids
  std::vector<std::size_t> candidate_of_wish;  // of claim.wishes
  std::optional<Error> forbidden;              // why the first of the others is not in it
  Outlook outlook;
  std::vector<Claim> ahead;  // what they may have; no wishes: in nobody's way

  // Which of those ahead could begin now, in their order. Who could, and is `passed_over`, is from
  // then on in nobody's way.
  std::vector<bool> pass(const std::function<bool(std::size_t)>& passed_over);
};

}  // namespace chronos
