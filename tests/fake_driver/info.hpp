// The answer side of every clGet...Info: writes one value under the rules of param_value_size.
#pragma once

#include <CL/cl.h>

#include <cstring>
#include <string_view>
#include <vector>

namespace chronos::fake {

class Answer {
 public:
  Answer(std::size_t capacity, void* out, std::size_t* needed)
      : capacity_(capacity), out_(out), needed_(needed) {}

  cl_int bytes(const void* data, std::size_t size) const {
    if (out_ != nullptr) {
      if (capacity_ < size) return CL_INVALID_VALUE;
      if (size != 0) std::memcpy(out_, data, size);
    }
    if (needed_ != nullptr) *needed_ = size;
    return CL_SUCCESS;
  }
  template <class T>
  cl_int value(const T& value) const {
    return bytes(&value, sizeof(T));  // NOLINT(bugprone-sizeof-expression): handles are answers
  }
  template <class T>
  cl_int list(const std::vector<T>& values) const {
    return bytes(values.data(), values.size() * sizeof(T));
  }
  cl_int text(const std::string_view text) const {
    if (out_ != nullptr) {
      if (capacity_ < text.size() + 1) return CL_INVALID_VALUE;
      std::memcpy(out_, text.data(), text.size());
      static_cast<char*>(out_)[text.size()] = '\0';
    }
    if (needed_ != nullptr) *needed_ = text.size() + 1;
    return CL_SUCCESS;
  }

 private:
  std::size_t capacity_;
  void* out_;
  std::size_t* needed_;
};

// The entries of a zero-terminated property list, its 0 included; nothing for NULL.
template <class T>
std::vector<T> copy_properties(const T* properties) {
  std::vector<T> copy;
  if (properties == nullptr) return copy;
  for (; *properties != 0; properties += 2) {
    copy.push_back(properties[0]);
    copy.push_back(properties[1]);
  }
  copy.push_back(0);
  return copy;
}

}  // namespace chronos::fake
