// Python's view of the engine: buffers and codes in, nothing decided. The Python layer chooses and checks.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "bootstrap.h"
#include "capi_group.h"
#include "gil.h"
#include "reduce.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace jobkit {
namespace {

constexpr char kApiCapsule[] = "jobkit.native.c_api";
constexpr char kGroupCapsule[] = "jobkit.native.group";

Dtype checked_dtype(int code) {
  if (!is_dtype(code)) throw BadArgument("not a dtype code, got " + std::to_string(code));
  return static_cast<Dtype>(code);
}

ReduceOp checked_op(int code) {
  if (!is_reduce_op(code)) throw BadArgument("not a reduction code, got " + std::to_string(code));
  return static_cast<ReduceOp>(code);
}

// A contiguous buffer of at least `count` elements, held as long as this lives. None is no buffer.
class View {
 public:
  View(nb::handle object, bool writable, uint64_t count, Dtype dtype) {
    if (object.is_none()) return;
    int flags = PyBUF_ANY_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &buffer_, flags) != 0) throw nb::python_error();
    held_ = true;
    uint64_t n_bytes = static_cast<uint64_t>(buffer_.len), n = size_of(dtype);
    if (count > n_bytes / n) {
      PyBuffer_Release(&buffer_);
      throw BadArgument("a buffer of " + std::to_string(n_bytes) + " bytes is too small for " +
                        std::to_string(count) + " elements of " + name_of(dtype));
    }
  }
  View(const View&) = delete;
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
bool signal_arrived() {
  WithGil gil;
  return PyErr_CheckSignals() != 0;
}

// A line for the program's log. A handler that raises cannot fail the operation that waits.
void warn(const std::string& text) {
  WithGil gil;
  try {
    nb::module_::import_("logging").attr("getLogger")("jobkit.native").attr("warning")("%s", text);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("jobkit.native");
  }
}

CallOptions options(double timeout_s) { return {timeout_s, signal_arrived}; }

// Runs a call that may wait. An interrupt leaves Python's own exception behind: KeyboardInterrupt, usually.
template <typename Body>
auto waiting(Body body) {
  try {
    WithoutGil no_gil;
    return body();
  } catch (const Interrupted& interrupted) {
    if (PyErr_Occurred()) throw nb::python_error();
    throw Error(interrupted.what());
  }
}

void release_share(void* share) noexcept { c_api()->release(static_cast<jobkit_group*>(share)); }

class PyGroup {
 public:
  explicit PyGroup(std::shared_ptr<Group> group) : group_(std::move(group)) {}
  ~PyGroup() {
    // The last share takes leave of the peers, which may take a moment.
    WithoutGil no_gil;
    group_.reset();
  }

  int rank() const { return group_->rank(); }
  int size() const { return group_->size(); }
  nb::capsule handle() const { return nb::capsule(new jobkit_group{group_}, kGroupCapsule, release_share); }

  void all_reduce(int op, nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s,
                  double scale) {
    Dtype type = checked_dtype(dtype);
    View in(src, false, count, type), out(dst, true, count, type);
    waiting([&] {
      group_->all_reduce(checked_op(op), in.data(), out.data(), count, type, options(timeout_s), scale);
    });
  }

  void reduce_scatter(int op, nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s,
                      double scale) {
    Dtype type = checked_dtype(dtype);
    View in(src, false, all(count), type), out(dst, true, count, type);
    waiting([&] {
      group_->reduce_scatter(checked_op(op), in.data(), out.data(), count, type, options(timeout_s), scale);
    });
  }

  void all_gather(nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    View in(src, false, count, type), out(dst, true, all(count), type);
    waiting([&] { group_->all_gather(in.data(), out.data(), count, type, options(timeout_s)); });
  }

  void broadcast(nb::handle buffer, uint64_t count, int dtype, int root, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    View data(buffer, root != rank(), count, type);
    waiting([&] { group_->broadcast(data.data(), count, type, root, options(timeout_s)); });
  }

  void all_to_all(nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    View in(src, false, all(count), type), out(dst, true, all(count), type);
    waiting([&] { group_->all_to_all(in.data(), out.data(), count, type, options(timeout_s)); });
  }

  void gather(nb::handle src, nb::handle dst, uint64_t count, int dtype, int root, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    bool wants = root == rank();
    if (wants && dst.is_none()) throw BadArgument("gather: the root needs a buffer to gather into, got None");
    View in(src, false, count, type), out(wants ? dst : nb::none(), true, all(count), type);
    waiting([&] { group_->gather(in.data(), out.data(), count, type, root, options(timeout_s)); });
  }

  void scatter(nb::handle src, nb::handle dst, uint64_t count, int dtype, int root, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    bool gives = root == rank();
    if (gives && src.is_none()) throw BadArgument("scatter: the root needs a buffer to scatter, got None");
    View in(gives ? src : nb::none(), false, all(count), type), out(dst, true, count, type);
    waiting([&] { group_->scatter(in.data(), out.data(), count, type, root, options(timeout_s)); });
  }

  void barrier(double timeout_s) {
    waiting([&] { group_->barrier(options(timeout_s)); });
  }

  void send(nb::handle src, uint64_t count, int dtype, int to, int tag, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    View in(src, false, count, type);
    waiting([&] { group_->send(in.data(), count, type, to, tag, options(timeout_s)); });
  }

  void recv(nb::handle dst, uint64_t count, int dtype, int from, int tag, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    View out(dst, true, count, type);
    waiting([&] { group_->recv(out.data(), count, type, from, tag, options(timeout_s)); });
  }

  void sendrecv(nb::handle src, uint64_t n_in, int to, nb::handle dst, uint64_t n_out, int from, int dtype,
                int tag, double timeout_s) {
    Dtype type = checked_dtype(dtype);
    View in(src, false, n_in, type), out(dst, true, n_out, type);
    waiting([&] {
      group_->sendrecv(in.data(), n_in, to, out.data(), n_out, from, type, tag, options(timeout_s));
    });
  }

  nb::object split(std::optional<int> color, int key, double timeout_s) {
    std::shared_ptr<Group> made = waiting([&] { return group_->split(color, key, options(timeout_s)); });
    if (!made) return nb::none();
    return nb::cast(std::make_unique<PyGroup>(std::move(made)));
  }

  std::unique_ptr<PyGroup> among(const std::vector<int>& ranks, const std::string& name) {
    return std::make_unique<PyGroup>(group_->among(ranks, name));
  }

  void abort(const std::string& reason) {
    WithoutGil no_gil;
    group_->abort(reason);
  }

  void close() {
    WithoutGil no_gil;
    group_->close();
  }

  // Why no operation of this group can succeed any more.
  std::optional<std::string> failure() const {
    auto failure = group_->mesh().failure_of(group_->members());
    return failure ? std::optional(failure->text) : std::nullopt;
  }

  nb::dict topology() const;

 private:
  uint64_t all(uint64_t count) const {
    auto n = static_cast<uint64_t>(group_->size());
    if (count > UINT64_MAX / n) throw BadArgument(std::to_string(count) + " elements per rank are too many");
    return count * n;
  }

  std::shared_ptr<Group> group_;
};

nb::dict PyGroup::topology() const {
  constexpr const char* kinds[] = {"direct", "neighbours"};
  const Mesh& mesh = group_->mesh();
  const std::vector<int>& members = group_->members();
  nb::list ranks, matrix, links;
  for (int p : members) {
    const Identity& identity = mesh.identity(p);
    nb::dict entry;
    entry["rank"] = p;
    entry["host"] = identity.host;
    entry["pid"] = identity.pid;
    entry["node"] = identity.node;
    entry["processors"] = identity.processors;
    ranks.append(entry);
    links.append(mesh.n_connections(p));
    nb::list row;
    for (int q : members) row.append(p == q ? "self" : mesh.is_direct(p, q) ? "direct" : "relayed");
    matrix.append(row);
  }
  nb::dict result;
  result["kind"] = kinds[static_cast<int>(group_->topology())];
  result["ranks"] = ranks;
  result["matrix"] = matrix;
  result["connections"] = links;
  result["spins"] = mesh.spins();
  return result;
}

std::unique_ptr<PyGroup> py_connect(int rank, const std::vector<std::vector<std::string>>& hosts,
                                    const std::string& mode, const std::string& job, uint32_t epoch,
                                    nb::bytes token, double connect_timeout_s, double timeout_s,
                                    double heartbeat_s, bool verbose, std::string victim_file,
                                    bool shared_memory) {
  if (mode != "gang" && mode != "hostfile")
    throw BadArgument("mode '" + mode + "', expected 'gang' or 'hostfile'");
  ConnectOptions wanted{rank,
                        hosts,
                        mode == "gang" ? Mode::kGang : Mode::kHostfile,
                        job,
                        epoch,
                        std::string(token.c_str(), token.size()),
                        connect_timeout_s,
                        verbose,
                        shared_memory,
                        signal_arrived};
  return waiting([&] {
    auto group = std::make_shared<Group>(
        Mesh::make(connect(wanted), warn, heartbeat_s, std::move(victim_file)), timeout_s);
    return std::make_unique<PyGroup>(std::move(group));
  });
}

void py_reduce(int op, int dtype, nb::handle left, nb::handle right, nb::handle out, uint64_t count,
               bool nontemporal) {
  Dtype type = checked_dtype(dtype);
  View a(left, false, count, type), b(right, false, count, type), c(out, true, count, type);
  WithoutGil no_gil;
  reduce(checked_op(op), type, a.data(), b.data(), c.data(), count, nontemporal);
}

void py_reduce_all(int op, int dtype, nb::sequence parts, nb::handle out, uint64_t count, double scale,
                   bool nontemporal) {
  Dtype type = checked_dtype(dtype);
  std::vector<std::unique_ptr<View>> views;
  std::vector<const void*> data;
  for (nb::handle part : parts) {
    views.push_back(std::make_unique<View>(part, false, count, type));
    data.push_back(views.back()->data());
  }
  View result(out, true, count, type);
  WithoutGil no_gil;
  reduce_all(checked_op(op), type, data.data(), static_cast<int>(data.size()), result.data(), count, scale,
             nontemporal);
}

void py_copy(nb::handle out, nb::handle in, uint64_t n_bytes, bool nontemporal) {
  View from(in, false, n_bytes, Dtype::kUint8), to(out, true, n_bytes, Dtype::kUint8);
  WithoutGil no_gil;
  copy(to.data(), from.data(), n_bytes, nontemporal);
}

nb::tuple py_instruction_sets() {
  nb::list names;
  for (const std::string& name : instruction_sets()) names.append(name);
  return nb::tuple(names);
}

// jobkit.errors.BackendError, which is a RuntimeError, with the culprit beside the text.
// Never released: exceptions may be translated until the interpreter is gone.
nb::handle error_type;

void define_errors(nb::module_& m) {
  nb::dict attributes;
  attributes["__doc__"] =
      "An operation that failed; `culprit` is the rank of the whole job that caused it, or None.";
  attributes["culprit"] = nb::none();
  attributes["__module__"] = m.attr("__name__");
  nb::object made = nb::borrow(reinterpret_cast<PyObject*>(&PyType_Type))(
      "Error", nb::make_tuple(nb::module_::import_("jobkit.errors").attr("BackendError")), attributes);
  error_type = made.release();
  m.attr("Error") = error_type;
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const BadArgument& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const Error& error) {
      nb::object raised = error_type(error.what());
      if (error.culprit() != kNobody) raised.attr("culprit") = error.culprit();
      PyErr_SetObject(error_type.ptr(), raised.ptr());
    }
  });
}

}  // namespace
}  // namespace jobkit

NB_MODULE(_core, m) {
  using namespace jobkit;
  nb::set_leak_warnings(false);
  define_errors(m);
  auto timeout = "timeout_s"_a = -1.0;
  nb::class_<PyGroup>(m, "Group")
      .def_prop_ro("rank", &PyGroup::rank)
      .def_prop_ro("size", &PyGroup::size)
      .def("handle", &PyGroup::handle)
      .def("topology", &PyGroup::topology)
      .def_prop_ro("failure", &PyGroup::failure)
      .def("all_reduce", &PyGroup::all_reduce, "op"_a, "src"_a, "dst"_a, "count"_a, "dtype"_a, timeout,
           "scale"_a = 1.0)
      .def("reduce_scatter", &PyGroup::reduce_scatter, "op"_a, "src"_a, "dst"_a, "count"_a, "dtype"_a,
           timeout, "scale"_a = 1.0)
      .def("all_gather", &PyGroup::all_gather, "src"_a, "dst"_a, "count"_a, "dtype"_a, timeout)
      .def("broadcast", &PyGroup::broadcast, "buf"_a, "count"_a, "dtype"_a, "root"_a, timeout)
      .def("all_to_all", &PyGroup::all_to_all, "src"_a, "dst"_a, "count_per_rank"_a, "dtype"_a, timeout)
      .def("gather", &PyGroup::gather, "src"_a, "dst"_a.none(), "count"_a, "dtype"_a, "root"_a, timeout)
      .def("scatter", &PyGroup::scatter, "src"_a.none(), "dst"_a, "count"_a, "dtype"_a, "root"_a, timeout)
      .def("barrier", &PyGroup::barrier, timeout)
      .def("send", &PyGroup::send, "src"_a, "count"_a, "dtype"_a, "dst"_a, "tag"_a = 0, timeout)
      .def("recv", &PyGroup::recv, "dst"_a, "count"_a, "dtype"_a, "src"_a, "tag"_a = 0, timeout)
      .def("sendrecv", &PyGroup::sendrecv, "src"_a, "src_count"_a, "to"_a, "dst"_a, "dst_count"_a, "from_"_a,
           "dtype"_a, "tag"_a = 0, timeout)
      .def("split", &PyGroup::split, "color"_a.none(), "key"_a = -1, timeout)
      .def("among", &PyGroup::among, "ranks"_a, "name"_a)
      .def("abort", &PyGroup::abort, "reason"_a)
      .def("close", &PyGroup::close);
  m.def("connect", &py_connect, "rank"_a, "hosts"_a, nb::kw_only(), "mode"_a, "job"_a, "epoch"_a, "token"_a,
        "connect_timeout_s"_a, "timeout_s"_a, "heartbeat_s"_a, "verbose"_a, "victim_file"_a = "",
        "shared_memory"_a = false);
  m.def("c_api", [] { return nb::capsule(c_api(), kApiCapsule); });
  m.def("reduce", &py_reduce, "op"_a, "dtype"_a, "left"_a, "right"_a, "out"_a, "count"_a,
        "nontemporal"_a = false);
  m.def("reduce_all", &py_reduce_all, "op"_a, "dtype"_a, "parts"_a, "out"_a, "count"_a, "scale"_a = 1.0,
        "nontemporal"_a = false);
  m.def("copy", &py_copy, "out"_a, "in_"_a, "n_bytes"_a, "nontemporal"_a = false);
  m.def("instruction_sets", &py_instruction_sets);
  m.def("use_instruction_set", &use_instruction_set, "name"_a);
}
