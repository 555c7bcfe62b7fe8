#include "py_group.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <list>

#include "binding.h"
#include "capi_group.h"
#include "ndarray.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace jobkit {
namespace {

constexpr char kApiCapsule[] = "jobkit.native.c_api";
constexpr char kGroupCapsule[] = "jobkit.native.group";

void release_share(void* share) noexcept { c_api()->release(static_cast<jobkit_group*>(share)); }

class PyGroup;

// An operation that is on its way. The group lives as long as this, and the buffers with it.
class PyHandle {
 public:
  PyHandle(std::shared_ptr<Lane> lane, std::shared_ptr<Handle> handle, nb::object group)
      : lane_(std::move(lane)), handle_(std::move(handle)), group_(std::move(group)) {}
  PyHandle(const PyHandle&) = delete;
  ~PyHandle() {
    if (!told_) lane_->drop(*handle_);
  }

  bool done() const { return handle_->done(); }

  bool wait(double timeout_s);

 private:
  std::shared_ptr<Lane> lane_;
  std::shared_ptr<Handle> handle_;
  nb::object group_;
  bool told_ = false;
};

class PyGroup {
 public:
  PyGroup(std::shared_ptr<Group> group, bool checks) : lane_(Lane::make(std::move(group), checks)) {}
  PyGroup(const PyGroup&) = delete;
  ~PyGroup() {
    // What was issued needs its buffers; and the last share takes leave of the peers. Both may take a moment.
    WithoutGil no_gil;
    if (!kept_.empty() || !kept_messages_.empty()) lane_->finish();
    lane_.reset();
  }

  int rank() const { return group().rank(); }
  int size() const { return group().size(); }
  nb::capsule handle() const { return nb::capsule(new jobkit_group{lane_}, kGroupCapsule, release_share); }

  nb::object all_reduce(int op, nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s,
                        double scale, bool wait) {
    Operation operation = new_operation(all_reduce_call(checked_op(op)), count, dtype, timeout_s);
    operation.scale = scale;
    return issue(operation, View(src, false, count, operation.dtype), View(dst, true, count, operation.dtype),
                 wait);
  }

  nb::object reduce_scatter(int op, nb::handle src, nb::handle dst, uint64_t count, int dtype,
                            double timeout_s, double scale, bool wait) {
    Operation operation = new_operation(reduce_scatter_call(checked_op(op)), count, dtype, timeout_s);
    operation.scale = scale;
    return issue(operation, View(src, false, all(count), operation.dtype),
                 View(dst, true, count, operation.dtype), wait);
  }

  nb::object all_gather(nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s,
                        bool wait) {
    Operation operation = new_operation(Call::kAllGather, count, dtype, timeout_s);
    return issue(operation, View(src, false, count, operation.dtype),
                 View(dst, true, all(count), operation.dtype), wait);
  }

  // The root has its array in `buffer`, or in `src`.
  nb::object broadcast(nb::handle buffer, uint64_t count, int dtype, int root, double timeout_s, bool wait,
                       nb::handle src) {
    Operation operation = new_operation(Call::kBroadcast, count, dtype, timeout_s);
    operation.peer = root;
    View given(src, false, count, operation.dtype);
    View data(buffer, root != rank() || given.data(), count, operation.dtype);
    operation.in = data.data();
    return issue(operation, std::move(given), std::move(data), wait);
  }

  nb::object all_to_all(nb::handle src, nb::handle dst, uint64_t count, int dtype, double timeout_s,
                        bool wait) {
    Operation operation = new_operation(Call::kAllToAll, count, dtype, timeout_s);
    return issue(operation, View(src, false, all(count), operation.dtype),
                 View(dst, true, all(count), operation.dtype), wait);
  }

  nb::object gather(nb::handle src, nb::handle dst, uint64_t count, int dtype, int root, double timeout_s,
                    bool wait) {
    Operation operation = new_operation(Call::kGather, count, dtype, timeout_s);
    operation.peer = root;
    bool wants = root == rank();
    if (wants && dst.is_none()) throw BadArgument("gather: the root needs a buffer to gather into, got None");
    return issue(operation, View(src, false, count, operation.dtype),
                 View(wants ? dst : nb::none(), true, all(count), operation.dtype), wait);
  }

  nb::object scatter(nb::handle src, nb::handle dst, uint64_t count, int dtype, int root, double timeout_s,
                     bool wait) {
    Operation operation = new_operation(Call::kScatter, count, dtype, timeout_s);
    operation.peer = root;
    bool gives = root == rank();
    if (gives && src.is_none()) throw BadArgument("scatter: the root needs a buffer to scatter, got None");
    return issue(operation, View(gives ? src : nb::none(), false, all(count), operation.dtype),
                 View(dst, true, count, operation.dtype), wait);
  }

  nb::object barrier(double timeout_s, bool wait) {
    return issue(new_operation(Call::kBarrier, 0, static_cast<int>(Dtype::kUint8), timeout_s), View(), View(),
                 wait);
  }

  nb::object send(nb::handle src, uint64_t count, int dtype, int to, int tag, double timeout_s, bool wait) {
    Operation operation = new_operation(Call::kSend, count, dtype, timeout_s);
    operation.peer = to;
    operation.tag = tag;
    return issue(operation, View(src, false, count, operation.dtype), View(), wait);
  }

  nb::object recv(nb::handle dst, uint64_t count, int dtype, int from, int tag, double timeout_s, bool wait) {
    Operation operation = new_operation(Call::kRecv, count, dtype, timeout_s);
    operation.peer = from;
    operation.tag = tag;
    return issue(operation, View(), View(dst, true, count, operation.dtype), wait);
  }

  nb::object sendrecv(nb::handle src, uint64_t n_in, int to, nb::handle dst, uint64_t n_out, int from,
                      int dtype, int tag, double timeout_s, bool wait) {
    Operation operation = new_operation(Call::kSendrecv, n_in, dtype, timeout_s);
    operation.peer = to;
    operation.sender = from;
    operation.n_received = n_out;
    operation.tag = tag;
    return issue(operation, View(src, false, n_in, operation.dtype), View(dst, true, n_out, operation.dtype),
                 wait);
  }

  // The call's data travels by other means; of messages `count` is sent and `n_received` is received.
  nb::object announce(int call, uint64_t count, int dtype, int peer, int sender, uint64_t n_received, int tag,
                      double timeout_s, bool wait) {
    if (call < 0 || call >= kCalls || call == static_cast<int>(Call::kSplit))
      throw BadArgument("announce: call " + std::to_string(call) + " is no operation on arrays");
    Operation operation = new_operation(static_cast<Call>(call), count, dtype, timeout_s);
    operation.elsewhere = true;
    operation.peer = peer;
    operation.sender = sender;
    operation.n_received = n_received;
    operation.tag = tag;
    return issue(operation, View(), View(), wait);
  }

  // With the arguments call, x, out, timeout, root, scale.
  nb::object quick(PyObject* const* arguments);
  // With the arguments call, x, peer, sender, tag, timeout.
  nb::object quick_message(PyObject* const* arguments);

  // The time of `iterations` all_reduce calls without Python in between, in seconds: what its share in a call
  // is measured against.
  double repeat_all_reduce(int op, nb::handle src, nb::handle dst, uint64_t count, int dtype,
                           int iterations) {
    Operation operation = new_operation(all_reduce_call(checked_op(op)), count, dtype, -1);
    View in(src, false, count, operation.dtype), out(dst, true, count, operation.dtype);
    operation.in = in.data();
    operation.out = out.data();
    return waiting([&] {
      const Moment start = Clock::now();
      for (int i = 0; i < iterations; i++) lane_->run(operation, signal_arrived);
      return std::chrono::duration<double>(Clock::now() - start).count();
    });
  }

  nb::object split(std::optional<int> color, int key, double timeout_s) {
    std::shared_ptr<Group> made =
        waiting([&] { return lane_->split(color, key, {timeout_s, signal_arrived}); });
    return made ? new_group(std::move(made), lane_->checks()) : nb::none();
  }

  nb::object among(const std::vector<int>& ranks, const std::string& name) {
    return new_group(group().among(ranks, name), lane_->checks());
  }

  nb::object shrink(double timeout_s) {
    std::shared_ptr<Group> made = waiting([&] { return group().shrink({timeout_s, signal_arrived}); });
    return new_group(std::move(made), lane_->checks());
  }

  void abort(const std::string& reason) {
    WithoutGil no_gil;
    group().abort(reason);
  }

  void close() {
    WithoutGil no_gil;
    lane_->close();
  }

  // Whether nothing has failed that ends this group. Cheap while nothing happened to anybody.
  bool is_sound() const { return group().mesh().health() == 0 || !group().failure(); }

  // Why no operation of this group can succeed any more.
  std::optional<std::string> failure() const {
    auto found = group().failure();
    return found ? std::optional(found->text) : std::nullopt;
  }

  nb::dict topology() const;

  // Releases the buffers of what is done. Releasing may run any Python code, this too.
  void let_go() {
    while (!kept_.empty() && kept_.front().handle->done()) {
      Kept done = std::move(kept_.front());
      kept_.pop_front();
      release(std::move(done));
    }
    for (;;) {
      auto is_done = [](const Kept& each) { return each.handle->done(); };
      auto at = std::find_if(kept_messages_.begin(), kept_messages_.end(), is_done);
      if (at == kept_messages_.end()) return;
      Kept done = std::move(*at);
      kept_messages_.erase(at);
      release(std::move(done));
    }
  }

 private:
  // What an operation needs until it is done.
  struct Kept {
    std::shared_ptr<Handle> handle;
    View in, out;
  };

  Group& group() const { return lane_->group(); }

  // MPI may go on reading and writing the memory of an operation that failed, for ever.
  bool lends_memory() const { return group().mesh().mpi() != nullptr; }

  void release(Kept done) const {
    if (lends_memory() && done.handle->failed()) new Kept(std::move(done));
  }

  uint64_t all(uint64_t count) const {
    auto n = static_cast<uint64_t>(size());
    if (count > UINT64_MAX / n) throw BadArgument(std::to_string(count) + " elements per rank are too many");
    return count * n;
  }

  static Operation new_operation(Call call, uint64_t count, int dtype, double timeout_s) {
    Operation operation;
    operation.call = call;
    operation.count = count;
    operation.dtype = checked_dtype(dtype);
    operation.timeout_s = timeout_s;
    return operation;
  }

  // None when it is complete; where nobody waits, a handle.
  nb::object issue(Operation& operation, View in, View out, bool wait) {
    if (in.data()) operation.in = in.data();
    operation.out = out.data();
    if (wait) {
      try {
        run(operation);
      } catch (...) {
        if (lends_memory()) new std::pair(std::move(in), std::move(out));
        throw;
      }
      return nb::none();
    }
    if (const MpiLibrary* mpi = group().mesh().mpi(); mpi && !mpi->one_thread.empty())
      throw Error(std::string(name_of(operation.call)) + ": wait=False needs a thread, and " +
                  mpi->one_thread);
    let_go();
    auto handle = waiting([&] { return lane_->start(operation, signal_arrived); });
    auto& kept = operation.is_message() ? kept_messages_ : kept_;
    kept.push_back({handle, std::move(in), std::move(out)});
    return nb::cast(std::make_unique<PyHandle>(lane_, std::move(handle), nb::find(*this)));
  }
  nb::object issue(Operation&& operation, View in, View out, bool wait) {
    return issue(operation, std::move(in), std::move(out), wait);
  }

  void run(const Operation& operation) {
    waiting([&] { lane_->run(operation, signal_arrived); });
    let_go();
  }
  void run(const Operation& operation, nb::handle in, nb::handle out) {
    try {
      run(operation);
    } catch (...) {
      if (lends_memory()) {
        in.inc_ref();
        out.inc_ref();
      }
      throw;
    }
  }

  std::shared_ptr<Lane> lane_;
  std::list<Kept> kept_;           // of collectives, in the order of issue and of their end
  std::list<Kept> kept_messages_;  // in the order of issue
};

bool PyHandle::wait(double timeout_s) {
  const Deadline deadline = Deadline::in(timeout_s);
  told_ = true;  // whatever is thrown here, its caller hears of it
  told_ = waiting([&] { return lane_->wait(*handle_, deadline, signal_arrived); });
  nb::cast<PyGroup&>(group_).let_go();
  return told_;
}

// --- the quick way: plain NumPy arrays in, a result out; NotImplemented for all else, errors too ---

nb::object not_mine() { return nb::borrow(Py_NotImplemented); }

// None is the group's own time.
bool is_time(nb::handle given, double& timeout_s) {
  timeout_s = -1;
  if (given.is_none()) return true;
  if (!PyFloat_CheckExact(given.ptr())) return false;
  timeout_s = PyFloat_AsDouble(given.ptr());
  return timeout_s > 0 && timeout_s <= 1e9;
}

// An integer from 0 to `limit` - 1.
bool is_number(nb::handle given, int64_t limit, int& number) {
  if (!PyLong_CheckExact(given.ptr())) return false;
  int overflow = 0;
  const int64_t value = PyLong_AsLongLongAndOverflow(given.ptr(), &overflow);
  number = static_cast<int>(value);
  return overflow == 0 && value >= 0 && value < limit;
}

bool is_call(nb::handle given, Call last, Call& call) {
  int code;
  if (!is_number(given, static_cast<int64_t>(last) + 1, code)) return false;
  call = static_cast<Call>(code);
  return true;
}

bool same_memory(const ndarray::Plain& a, const ndarray::Plain& b) {
  return a.data == b.data && a.count == b.count;
}

bool overlap(const ndarray::Plain& a, const ndarray::Plain& b) {
  auto begin = [](const ndarray::Plain& each) { return reinterpret_cast<uintptr_t>(each.data); };
  auto end = [&](const ndarray::Plain& each) { return begin(each) + each.count * size_of(each.dtype); };
  return begin(a) < end(b) && begin(b) < end(a);
}

// How many rows along axis 0 the result has: -1 for the shape of `in`. False where it cannot be divided.
bool rows_of_result(Call call, const ndarray::Plain& in, int size, intptr_t& rows) {
  rows = -1;
  if (call == Call::kAllGather || call == Call::kGather) {
    rows = in.n_dimensions == 0 ? size : in.shape[0] * size;
  } else if (is_reduce_scatter(call) || call == Call::kAllToAll) {
    if (in.n_dimensions == 0 || in.shape[0] % size != 0) return false;
    if (call != Call::kAllToAll) rows = in.shape[0] / size;
  }
  return true;
}

bool has_shape(const ndarray::Plain& out, const ndarray::Plain& in, intptr_t rows) {
  if (rows < 0) {
    return out.n_dimensions == in.n_dimensions && std::equal(in.shape, in.shape + in.n_dimensions, out.shape);
  }
  const int n_dimensions = std::max(in.n_dimensions, 1);
  return out.n_dimensions == n_dimensions && out.shape[0] == rows &&
         std::equal(in.shape + (in.n_dimensions > 0), in.shape + in.n_dimensions, out.shape + 1);
}

nb::object PyGroup::quick(PyObject* const* arguments) {
  const nb::handle x = arguments[1], out = arguments[2], timeout = arguments[3], root = arguments[4],
                   scale = arguments[5];
  ndarray::Plain in, result;
  Operation op;
  intptr_t rows;
  if (!is_call(arguments[0], Call::kGather, op.call) || !ndarray::look(x.ptr(), in) ||
      !is_time(timeout, op.timeout_s) || !is_number(root, size(), op.peer) ||
      !PyFloat_CheckExact(scale.ptr()) || !rows_of_result(op.call, in, size(), rows)) {
    return not_mine();
  }
  op.scale = PyFloat_AsDouble(scale.ptr());
  if (op.scale != 1.0 && in.dtype < Dtype::kFloat16) return not_mine();
  op.in = in.data;
  op.count = op.call == Call::kAllToAll ? in.count / size() : in.count;
  op.dtype = in.dtype;
  nb::object made;
  if (op.call == Call::kGather && op.peer != rank()) {
    if (!out.is_none()) return not_mine();
    made = nb::none();
  } else if (out.is_none()) {
    made = nb::steal(ndarray::make(in, rows));
    if (!made.is_valid()) throw nb::python_error();
    ndarray::look(made.ptr(), result);
  } else {
    if (!ndarray::look(out.ptr(), result) || !result.is_writable || result.dtype != in.dtype ||
        !has_shape(result, in, rows) || (overlap(in, result) && !same_memory(in, result))) {
      return not_mine();
    }
    made = nb::borrow(out);
  }
  op.out = result.data;
  if (is_reduce_scatter(op.call)) op.count = result.count;
  run(op, x, made);
  return made;
}

nb::object PyGroup::quick_message(PyObject* const* arguments) {
  const nb::handle x = arguments[1], peer = arguments[2], sender = arguments[3], tag = arguments[4],
                   timeout = arguments[5];
  ndarray::Plain in, result;
  Operation op;
  if (!is_call(arguments[0], Call::kSendrecv, op.call) || !ndarray::look(x.ptr(), in) ||
      !is_time(timeout, op.timeout_s) || !is_number(peer, size(), op.peer) ||
      !is_number(sender, size(), op.sender) || !is_number(tag, INT64_C(1) << 31, op.tag) ||
      op.peer == rank() || op.sender == rank()) {
    return not_mine();
  }
  op.in = in.data;
  op.count = op.n_received = in.count;
  op.dtype = in.dtype;
  nb::object made = nb::borrow(x);
  if (op.call != Call::kSend) {
    made = nb::steal(ndarray::make(in, -1));
    if (!made.is_valid()) throw nb::python_error();
    ndarray::look(made.ptr(), result);
    op.out = result.data;
  }
  run(op, x, made);
  return made;
}

// nanobind's way to a method takes 0.1 us, a fifth of what Python may cost in a small call: these are
// functions of Python's own kind, which get their arguments in a row.
constexpr Py_ssize_t kQuickArguments = 6;

template <nb::object (PyGroup::*method)(PyObject* const*)>
PyObject* answer(PyObject* self, PyObject* const* arguments, Py_ssize_t n) {
  try {
    if (n != kQuickArguments) throw BadArgument("got " + std::to_string(n) + " arguments, expected 6");
    return (nb::inst_ptr<PyGroup>(self)->*method)(arguments).release().ptr();
  } catch (...) {
    set_python_error(std::current_exception());
    return nullptr;
  }
}

template <nb::object (PyGroup::*method)(PyObject* const*)>
nb::object function_of(nb::handle self) {
  static PyMethodDef definition{"quick",
                                reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(answer<method>)),
                                METH_FASTCALL, nullptr};
  PyObject* made = PyCFunction_New(&definition, self.ptr());
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

nb::dict PyGroup::topology() const {
  constexpr const char* kinds[] = {"direct", "neighbours"};
  constexpr const char* reaches[] = {"relayed", "direct", "shm"};
  const Mesh& mesh = group().mesh();
  const std::vector<int>& members = group().members();
  nb::list ranks, matrix, connections, links;
  for (int p : members) {
    const Identity& identity = mesh.identity(p);
    nb::dict entry;
    entry["rank"] = p;
    entry["host"] = identity.host;
    entry["pid"] = identity.pid;
    entry["node"] = identity.node;
    entry["processors"] = identity.processors;
    ranks.append(entry);
    connections.append(mesh.n_connections(p));
    nb::dict link;
    link["kind"] = p == mesh.rank() ? "self" : mesh.link_kind(p);
    link["devices"] = mesh.link_carrier(p);
    links.append(link);
    nb::list row;
    for (int q : members) row.append(p == q ? "self" : reaches[static_cast<int>(mesh.reach(p, q))]);
    matrix.append(row);
  }
  nb::dict result;
  result["kind"] = kinds[static_cast<int>(group().topology())];
  result["ranks"] = ranks;
  result["matrix"] = matrix;
  result["connections"] = connections;
  result["links"] = links;
  result["spins"] = mesh.spins();
  result["schedules"] = group().choices().text();
  return result;
}

}  // namespace

nb::object new_group(std::shared_ptr<Group> group, bool checks) {
  return nb::cast(std::make_unique<PyGroup>(std::move(group), checks));
}

void define_group(nb::module_& m) {
  auto timeout = "timeout_s"_a = -1.0;
  auto wait = "wait"_a = true;
  nb::class_<PyHandle>(m, "Handle").def("done", &PyHandle::done).def("wait", &PyHandle::wait, timeout);
  nb::class_<PyGroup>(m, "Group")
      .def_prop_ro("rank", &PyGroup::rank)
      .def_prop_ro("size", &PyGroup::size)
      .def("handle", &PyGroup::handle)
      .def("topology", &PyGroup::topology)
      .def_prop_ro("failure", &PyGroup::failure)
      .def_prop_ro("is_sound", &PyGroup::is_sound)
      .def("all_reduce", &PyGroup::all_reduce, "op"_a, "src"_a, "dst"_a, "count"_a, "dtype"_a, timeout,
           "scale"_a = 1.0, wait)
      .def("reduce_scatter", &PyGroup::reduce_scatter, "op"_a, "src"_a, "dst"_a, "count"_a, "dtype"_a,
           timeout, "scale"_a = 1.0, wait)
      .def("all_gather", &PyGroup::all_gather, "src"_a, "dst"_a, "count"_a, "dtype"_a, timeout, wait)
      .def("broadcast", &PyGroup::broadcast, "buf"_a, "count"_a, "dtype"_a, "root"_a, timeout, wait,
           "src"_a.none() = nb::none())
      .def("all_to_all", &PyGroup::all_to_all, "src"_a, "dst"_a, "count_per_rank"_a, "dtype"_a, timeout, wait)
      .def("gather", &PyGroup::gather, "src"_a, "dst"_a.none(), "count"_a, "dtype"_a, "root"_a, timeout, wait)
      .def("scatter", &PyGroup::scatter, "src"_a.none(), "dst"_a, "count"_a, "dtype"_a, "root"_a, timeout,
           wait)
      .def("barrier", &PyGroup::barrier, timeout, wait)
      .def("send", &PyGroup::send, "src"_a, "count"_a, "dtype"_a, "dst"_a, "tag"_a = 0, timeout, wait)
      .def("recv", &PyGroup::recv, "dst"_a, "count"_a, "dtype"_a, "src"_a, "tag"_a = 0, timeout, wait)
      .def("sendrecv", &PyGroup::sendrecv, "src"_a, "src_count"_a, "to"_a, "dst"_a, "dst_count"_a, "from_"_a,
           "dtype"_a, "tag"_a = 0, timeout, wait)
      .def("announce", &PyGroup::announce, "call"_a, "count"_a, "dtype"_a, "peer"_a = 0, "sender"_a = kNobody,
           "n_received"_a = 0, "tag"_a = 0, timeout, wait)
      .def_prop_ro("quick", &function_of<&PyGroup::quick>)
      .def_prop_ro("quick_message", &function_of<&PyGroup::quick_message>)
      .def("repeat_all_reduce", &PyGroup::repeat_all_reduce, "op"_a, "src"_a, "dst"_a, "count"_a, "dtype"_a,
           "iterations"_a)
      .def("split", &PyGroup::split, "color"_a.none(), "key"_a = -1, timeout)
      .def("among", &PyGroup::among, "ranks"_a, "name"_a)
      .def("shrink", &PyGroup::shrink, "timeout_s"_a = -1.0)
      .def("abort", &PyGroup::abort, "reason"_a)
      .def("close", &PyGroup::close);
  m.def("c_api", [] { return nb::capsule(c_api(), kApiCapsule); });
}

}  // namespace jobkit
