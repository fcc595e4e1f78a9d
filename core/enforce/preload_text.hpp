// The text of /etc/ld.so.preload: names of libraries, parted by blanks, tabs, newlines or colons;
// a # begins a comment that goes to the end of the line. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chronos::enforce {

// The names, in order, as glibc reads them.
std::vector<std::string> preload_names(std::string_view text);

bool names_entry(std::string_view text, std::string_view entry);

// `text` with `entry` on a line of its own at the end, and every byte before it as it was. At the
// end, because glibc looks for a second comment only in as many bytes from the beginning as follow
// the first: text in front would lengthen what it overlooks.
std::string with_entry(std::string_view text, std::string_view entry);

// `text` without that name, wherever it stands, and without its line if nothing else is on it.
std::string without_entry(std::string_view text, std::string_view entry);

}  // namespace chronos::enforce
