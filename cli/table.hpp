// An aligned table for a terminal. Cells are plain text; colour is put on at the end.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/output.hpp"

namespace chronos::cli {

class Table {
 public:
  enum class Align { kLeft, kRight };

  struct Column {
    std::string title;
    Align align = Align::kLeft;
    // Columns of names may be cut down to this width when the terminal is narrow; 0: never.
    std::size_t least_width = 0;
  };

  struct Cell {
    std::string text;
    Style style = Style::kPlain;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column, their text printable().
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }

  // Leaves a column out, by its title.
  void hide(std::string_view title);

  // Lines end with a newline and have no trailing spaces. What does not fit although everything
  // that may be cut has been is left to the terminal to wrap.
  std::string render(const Screen& screen) const;

 private:
  std::vector<std::size_t> widths(std::size_t available) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace chronos::cli
