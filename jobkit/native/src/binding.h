// What the files that bind the engine to Python share.
#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <string>
#include <utility>

#include "error.h"
#include "gil.h"
#include "reduce.h"

namespace jobkit {

// Sets Python's exception to what was thrown, as nanobind does for the functions that it calls.
void set_python_error(const std::exception_ptr& thrown);

inline Dtype checked_dtype(int code) {
  if (!is_dtype(code)) throw BadArgument("not a dtype code, got " + std::to_string(code));
  return static_cast<Dtype>(code);
}

inline ReduceOp checked_op(int code) {
  if (!is_reduce_op(code)) throw BadArgument("not a reduction code, got " + std::to_string(code));
  return static_cast<ReduceOp>(code);
}

// A contiguous buffer of at least `count` elements, held as long as this lives. None is no buffer.
class View {
 public:
  View() = default;
  View(nanobind::handle object, bool writable, uint64_t count, Dtype dtype) {
    if (object.is_none()) return;
    int flags = PyBUF_ANY_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &buffer_, flags) != 0) throw nanobind::python_error();
    held_ = true;
    uint64_t n_bytes = static_cast<uint64_t>(buffer_.len), n = size_of(dtype);
    if (count > n_bytes / n) {
      PyBuffer_Release(&buffer_);
      throw BadArgument("a buffer of " + std::to_string(n_bytes) + " bytes is too small for " +
                        std::to_string(count) + " elements of " + name_of(dtype));
    }
  }
  View(View&& other) noexcept : buffer_(other.buffer_), held_(std::exchange(other.held_, false)) {}
  View& operator=(const View&) = delete;
  ~View() {
    if (held_) PyBuffer_Release(&buffer_);
  }
  void* data() const { return held_ ? buffer_.buf : nullptr; }

 private:
  Py_buffer buffer_{};
  bool held_ = false;
};

// Asked by a waiting thread without the GIL: has a signal handler raised?
inline bool signal_arrived() {
  WithGil gil;
  return PyErr_CheckSignals() != 0;
}

// Runs a call that may wait. An interrupt leaves Python's own exception behind: KeyboardInterrupt, usually.
template <typename Body>
auto waiting(Body body) {
  try {
    WithoutGil no_gil;
    return body();
  } catch (const Interrupted& interrupted) {
    if (PyErr_Occurred()) throw nanobind::python_error();
    throw Error(interrupted.what());
  }
}

}  // namespace jobkit
