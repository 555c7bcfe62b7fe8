// The interpreter's lock, given up and taken by threads that may outlive the interpreter.
#pragma once

#include <Python.h>
#include <unistd.h>

namespace jobkit {

// Calls `take`, which takes the lock. A daemon thread that wants it while the interpreter ends is ended there
// by unwinding its stack, which std::terminate answers where a frame on it must not throw (nanobind's are
// such, and all destructors): such a thread stays where it is until the process has ended.
template <typename Take>
auto take_gil(Take take) noexcept {
  try {
    return take();
  } catch (...) {
    for (;;) ::pause();
  }
}

// Without the lock as long as this lives.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    take_gil([&] { PyEval_RestoreThread(state_); });
  }

 private:
  PyThreadState* state_;
};

// With the lock as long as this lives; for any thread.
class WithGil {
 public:
  WithGil() : state_(take_gil([] { return PyGILState_Ensure(); })) {}
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;
  ~WithGil() { PyGILState_Release(state_); }

 private:
  PyGILState_STATE state_;
};

}  // namespace jobkit
