#include "ndarray.h"

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#include <numpy/arrayobject.h>

#include <algorithm>
#include <limits>

#include "blocks.h"

namespace jobkit::ndarray {
namespace {

constexpr int kNone = -1;

// The number that ml_dtypes got for bfloat16 when it registered it with NumPy, once an array of it was seen.
int bfloat16_type = kNone;

int code_of(Dtype dtype) { return static_cast<int>(dtype); }

bool is_bfloat16(PyArray_Descr* dtype) {
  PyObject* name = PyObject_GetAttrString(reinterpret_cast<PyObject*>(dtype), "name");
  const bool is = name && PyUnicode_CompareWithASCIIString(name, "bfloat16") == 0;
  Py_XDECREF(name);
  PyErr_Clear();
  return is;
}

int integer_code(size_t n_bytes, bool is_signed) {
  const int power = n_bytes == 1 ? 0 : n_bytes == 2 ? 1 : n_bytes == 4 ? 2 : 3;
  return code_of(is_signed ? Dtype::kInt8 : Dtype::kUint8) + power;
}

// By number and not by identity: an array that was unpickled has a dtype object of its own.
int code_of(PyArray_Descr* dtype) {
  switch (dtype->type_num) {
    case NPY_BOOL:
      return code_of(Dtype::kBool);
    case NPY_BYTE:
      return integer_code(1, true);
    case NPY_UBYTE:
      return integer_code(1, false);
    case NPY_SHORT:
      return integer_code(sizeof(npy_short), true);
    case NPY_USHORT:
      return integer_code(sizeof(npy_ushort), false);
    case NPY_INT:
      return integer_code(sizeof(npy_int), true);
    case NPY_UINT:
      return integer_code(sizeof(npy_uint), false);
    case NPY_LONG:
      return integer_code(sizeof(npy_long), true);
    case NPY_ULONG:
      return integer_code(sizeof(npy_ulong), false);
    case NPY_LONGLONG:
      return integer_code(sizeof(npy_longlong), true);
    case NPY_ULONGLONG:
      return integer_code(sizeof(npy_ulonglong), false);
    case NPY_HALF:
      return code_of(Dtype::kFloat16);
    case NPY_FLOAT:
      return code_of(Dtype::kFloat32);
    case NPY_DOUBLE:
      return code_of(Dtype::kFloat64);
    case NPY_CFLOAT:
      return code_of(Dtype::kComplex64);
    default:
      break;
  }
  if (dtype->type_num < NPY_USERDEF) return kNone;
  if (dtype->type_num == bfloat16_type) return code_of(Dtype::kBfloat16);
  if (!is_bfloat16(dtype)) return kNone;
  bfloat16_type = dtype->type_num;
  return code_of(Dtype::kBfloat16);
}

void give_back(PyObject* capsule) {
  void* data = PyCapsule_GetPointer(capsule, nullptr);
  blocks::give_back({data, reinterpret_cast<size_t>(PyCapsule_GetContext(capsule))});
}

// An array in a block of its own. Takes over the reference to `dtype`.
PyObject* in_a_block(PyArray_Descr* dtype, int n_dimensions, npy_intp* shape, size_t n_bytes) {
  blocks::Block block = blocks::take(n_bytes);
  if (!block.data) {
    Py_DECREF(reinterpret_cast<PyObject*>(dtype));
    return PyErr_NoMemory();
  }
  PyObject* owner = PyCapsule_New(block.data, nullptr, give_back);
  if (!owner) {
    blocks::give_back(block);
    Py_DECREF(reinterpret_cast<PyObject*>(dtype));
    return nullptr;
  }
  PyCapsule_SetContext(owner, reinterpret_cast<void*>(block.n_bytes));
  PyObject* array = PyArray_NewFromDescr(&PyArray_Type, dtype, n_dimensions, shape, nullptr, block.data,
                                         NPY_ARRAY_CARRAY, nullptr);
  if (!array) {
    Py_DECREF(owner);
    return nullptr;
  }
  PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(array), owner);  // takes `owner`, and cannot fail
  return array;
}

// Takes over the reference to `dtype`.
PyObject* make(PyArray_Descr* dtype, int n_dimensions, npy_intp* shape) {
  size_t n_bytes = static_cast<size_t>(PyDataType_ELSIZE(dtype));
  bool fits = true;
  for (int i = 0; i < n_dimensions; i++) {
    fits = fits && !__builtin_mul_overflow(n_bytes, static_cast<size_t>(shape[i]), &n_bytes);
  }
  // What is too large, NumPy refuses in its own words.
  const bool is_large = fits && n_bytes >= blocks::kSmallest &&
                        n_bytes <= static_cast<size_t>(std::numeric_limits<npy_intp>::max());
  if (is_large && !PyDataType_REFCHK(dtype)) return in_a_block(dtype, n_dimensions, shape, n_bytes);
  return PyArray_NewFromDescr(&PyArray_Type, dtype, n_dimensions, shape, nullptr, nullptr, 0, nullptr);
}

}  // namespace

bool look(PyObject* object, Plain& plain) {
  if (!PyArray_CheckExact(object)) return false;
  auto* array = reinterpret_cast<PyArrayObject*>(object);
  constexpr int wanted = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
  if (!PyArray_CHKFLAGS(array, wanted) || PyArray_ISBYTESWAPPED(array)) return false;
  const int code = code_of(PyArray_DESCR(array));
  if (code == kNone) return false;
  plain = {object,
           PyArray_DATA(array),
           PyArray_DIMS(array),
           PyArray_NDIM(array),
           1,
           static_cast<Dtype>(code),
           PyArray_ISWRITEABLE(array) != 0};
  for (int i = 0; i < plain.n_dimensions; i++) plain.count *= static_cast<uint64_t>(plain.shape[i]);
  return true;
}

PyObject* make(const Plain& like, intptr_t n) {
  npy_intp shape[NPY_MAXDIMS];
  int n_dimensions = like.n_dimensions;
  std::copy_n(like.shape, n_dimensions, shape);
  if (n >= 0) {
    if (n_dimensions == 0) n_dimensions = 1;
    shape[0] = n;
  }
  PyArray_Descr* dtype = PyArray_DESCR(reinterpret_cast<PyArrayObject*>(like.array));
  Py_INCREF(reinterpret_cast<PyObject*>(dtype));
  return make(dtype, n_dimensions, shape);
}

PyObject* make(PyObject* shape, PyObject* dtype) {
  npy_intp sizes[NPY_MAXDIMS];
  const Py_ssize_t n_dimensions = PyTuple_Size(shape);
  if (n_dimensions < 0) return nullptr;
  if (n_dimensions > NPY_MAXDIMS) {
    PyErr_SetString(PyExc_ValueError, "too many dimensions");
    return nullptr;
  }
  for (Py_ssize_t i = 0; i < n_dimensions; i++) {
    sizes[i] = PyNumber_AsSsize_t(PyTuple_GetItem(shape, i), PyExc_ValueError);
    if (sizes[i] == -1 && PyErr_Occurred()) return nullptr;
  }
  PyArray_Descr* type = nullptr;
  if (!PyArray_DescrConverter(dtype, &type)) return nullptr;
  return make(type, static_cast<int>(n_dimensions), sizes);
}

bool import() {
  import_array1(false);
  return true;
}

}  // namespace jobkit::ndarray
