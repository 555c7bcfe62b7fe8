// NumPy arrays, looked into and made through NumPy's own C interface: the buffer protocol would cost 0.2 us
// for each array, np.empty 0.3 us for a result; this costs 0.01 and 0.06.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

#include "dtype.h"

namespace jobkit::ndarray {

// An array in the form that the engine reads: of numpy.ndarray itself, C-contiguous, aligned, in native byte
// order and of one of the 14 types.
struct Plain {
  PyObject* array = nullptr;  // borrowed
  void* data = nullptr;
  const intptr_t* shape = nullptr;
  int n_dimensions = 0;
  uint64_t count = 0;
  Dtype dtype = Dtype::kUint8;
  bool is_writable = false;
};

// Whether `object` is such an array; `plain` describes it then. Raises nothing.
bool look(PyObject* object, Plain& plain);

// A new array with the type of `like`, `n` rows along axis 0 and the other axes of `like`, or its shape where
// n < 0. Its contents are arbitrary. Large ones have a block for their base. nullptr with Python's exception
// set where there is no memory.
PyObject* make(const Plain& like, intptr_t n);

// The same for any tuple of sizes and dtype of NumPy's.
PyObject* make(PyObject* shape, PyObject* dtype);

// Before anything else; false with Python's exception set.
bool import();

}  // namespace jobkit::ndarray
