#include "cli/table.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace chronos::cli {
namespace {

constexpr std::size_t kGap = 2;

}  // namespace

std::vector<std::size_t> Table::widths(std::size_t available) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = display_width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i].text));
    widths.push_back(width);
  }
  auto total = [&] {
    return std::accumulate(widths.begin(), widths.end(), std::size_t{0}) +
           kGap * (widths.size() - 1);
  };
  while (total() > available) {
    // The widest of those that may still be cut loses one column at a time.
    std::size_t widest = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      std::size_t least = std::max(columns_[i].least_width, display_width(columns_[i].title));
      if (columns_[i].least_width == 0 || widths[i] <= least) continue;
      if (widest == columns_.size() || widths[i] > widths[widest]) widest = i;
    }
    if (widest == columns_.size()) break;
    --widths[widest];
  }
  return widths;
}

void Table::hide(std::string_view title) {
  for (std::size_t i = columns_.size(); i-- > 0;) {
    if (columns_[i].title != title) continue;
    auto at = static_cast<std::ptrdiff_t>(i);
    columns_.erase(columns_.begin() + at);
    for (auto& row : rows_) row.erase(row.begin() + at);
  }
}

std::string Table::render(const Screen& screen) const {
  std::vector<std::size_t> widths = this->widths(screen.width);
  std::string out;
  auto line = [&](auto&& cell_of) {
    std::string pad;  // written only when more text follows
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      Cell cell = cell_of(i);
      std::string text = shortened(cell.text, widths[i], screen.unicode);
      std::size_t missing = widths[i] - std::min(widths[i], display_width(text));
      if (columns_[i].align == Align::kRight) pad.append(missing, ' ');
      if (!text.empty()) {
        out += pad + styled(screen, cell.style, text);
        pad.clear();
      }
      if (columns_[i].align == Align::kLeft) pad.append(missing, ' ');
      pad.append(kGap, ' ');
    }
    out += '\n';
  };
  line([&](std::size_t i) { return Cell{columns_[i].title, Style::kDim}; });
  for (const auto& row : rows_) line([&](std::size_t i) { return row[i]; });
  return out;
}

}  // namespace chronos::cli
