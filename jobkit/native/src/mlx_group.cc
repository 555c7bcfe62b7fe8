// The bridge to MLX: a jobkit group as a mx.distributed.Group.
//
// Compiled on first use against the mlx that is installed (jobkit/native/mlx/build.py) and apart from the
// engine, which it reaches through the capsules of capi.h. Laziness, streams, compile, vjp, vmap and donation
// are MLX's own: its primitives allocate the outputs and make the inputs contiguous, then call the methods
// below, which put the operation on the CPU stream. What is thrown there, MLX raises again in whoever reads
// the result.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "capi.h"
#include "dtype.h"
#include "gil.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/distributed/distributed.h"
#include "mlx/distributed/distributed_impl.h"
#include "mlx/utils.h"
#include "mlx/version.h"
#include "reduce.h"

namespace nb = nanobind;
namespace mx = mlx::core;

namespace {

using jobkit::Dtype;
using jobkit::ReduceOp;

constexpr size_t kErrorBytes = 4096;
constexpr const char* kApiCapsule = "jobkit.native.c_api";
constexpr const char* kGroupCapsule = "jobkit.native.group";

// Operations of this process that are inside the engine: what an interrupt has to end.
std::atomic<int> operations_running{0};

Dtype dtype_of(const mx::array& array) {
  using Val = mx::Dtype::Val;
  switch (static_cast<Val>(array.dtype())) {
    case Val::bool_:
      return Dtype::kBool;
    case Val::uint8:
      return Dtype::kUint8;
    case Val::uint16:
      return Dtype::kUint16;
    case Val::uint32:
      return Dtype::kUint32;
    case Val::uint64:
      return Dtype::kUint64;
    case Val::int8:
      return Dtype::kInt8;
    case Val::int16:
      return Dtype::kInt16;
    case Val::int32:
      return Dtype::kInt32;
    case Val::int64:
      return Dtype::kInt64;
    case Val::float16:
      return Dtype::kFloat16;
    case Val::bfloat16:
      return Dtype::kBfloat16;
    case Val::float32:
      return Dtype::kFloat32;
    case Val::float64:
      return Dtype::kFloat64;
    case Val::complex64:
      return Dtype::kComplex64;
  }
  throw std::invalid_argument("[jobkit] this type of MLX array is unknown to the engine");
}

// The texts of the latest operations that failed. Of what a stream's thread throws MLX keeps the text alone,
// and throws that as a std::runtime_error in whoever reads the result: by it the engine's are known there.
class Failures {
 public:
  void note(const std::string& text) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (texts_.size() == kKept) texts_.pop_front();
    texts_.push_back(text);
  }

  bool has(const std::string& text) {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::find(texts_.begin(), texts_.end(), text) != texts_.end();
  }

 private:
  static constexpr size_t kKept = 256;
  std::mutex mutex_;
  std::deque<std::string> texts_;
};

Failures failures;

// Raises them in Python as BackendError. nanobind asks the translators of all modules of a domain, and so of
// MLX's, in turn; what is thrown here goes to the next.
void translate(const std::exception_ptr& thrown, void* backend_error) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::runtime_error& error) {
    if (!failures.has(error.what())) throw;
    PyErr_SetString(static_cast<PyObject*>(backend_error), error.what());
  }
}

// One reference to a group of the engine, and the order in which MLX's streams may use it.
//
// The engine serves one operation of a group at a time, in an order that must be the same on every rank. MLX
// gives every operation to its stream's thread, and two streams run in parallel: so each takes a ticket when
// it is issued, which the program does in the same order everywhere, and waits for its turn. An operation
// depends only on what was issued before it, hence the waiting has no cycle.
class Channel {
 public:
  // Takes over the caller's reference.
  Channel(const jobkit_api* api, jobkit_group* group) : api_(api), group_(group) {}
  ~Channel() { api_->release(group_); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  const jobkit_api* api() const { return api_; }
  jobkit_group* group() const { return group_; }

  // Held while a ticket is taken and its operation enqueued, so that no stream has two in the wrong order.
  std::mutex& issuing() { return issuing_; }

  uint64_t take_ticket() {
    std::lock_guard<std::mutex> lock(mutex_);
    return issued_++;
  }

  void wait_for(uint64_t ticket) {
    std::unique_lock<std::mutex> lock(mutex_);
    served_.wait(lock, [&] { return serving_ == ticket; });
  }

  void finish(uint64_t ticket) {
    std::lock_guard<std::mutex> lock(mutex_);
    finished_.insert(ticket);
    while (finished_.erase(serving_)) ++serving_;
    served_.notify_all();
  }

 private:
  const jobkit_api* api_;
  jobkit_group* group_;
  std::mutex issuing_;
  std::mutex mutex_;
  std::condition_variable served_;
  uint64_t issued_ = 0;
  uint64_t serving_ = 0;
  std::set<uint64_t> finished_;  // out of turn: operations that MLX dropped before they ran
};

// The right to one operation, in its turn. It lapses with the task that holds it, should MLX drop that unrun.
class Ticket {
 public:
  explicit Ticket(std::shared_ptr<Channel> channel)
      : channel_(std::move(channel)), number_(channel_->take_ticket()) {}
  ~Ticket() { finish(); }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  void wait() { channel_->wait_for(number_); }

  // Runs `call(channel, error)` in turn; what it reports is thrown.
  template <class Call>
  void use(Call&& call) {
    char error[kErrorBytes] = "";
    wait();
    ++operations_running;
    const int status = call(*channel_, error);
    --operations_running;
    finish();
    if (status == 0) return;
    failures.note(error);
    throw std::runtime_error(error);
  }

 private:
  void finish() {
    if (!finished_) channel_->finish(number_);
    finished_ = true;
  }

  std::shared_ptr<Channel> channel_;
  uint64_t number_;
  bool finished_ = false;
};

void check_color(int color) {
  if (color >= 0) return;
  throw std::invalid_argument("split: not a color, got " + std::to_string(color) +
                              ", expected an integer >= 0");
}

class BridgedGroup : public mx::distributed::detail::GroupImpl {
 public:
  BridgedGroup(std::shared_ptr<Channel> channel, double timeout_s, int tag, double scale = 1.0)
      : channel_(std::move(channel)), timeout_s_(timeout_s), tag_(tag), scale_(scale) {}

  mx::Stream communication_stream(mx::StreamOrDevice stream) override {
    return mx::to_stream(stream, mx::Device::cpu);
  }

  int rank() override { return channel_->api()->rank(channel_->group()); }
  int size() override { return channel_->api()->size(channel_->group()); }

  std::shared_ptr<GroupImpl> split(int color, int key) override {
    check_color(color);
    // MLX's binding calls with the interpreter's lock held; the streams that have to end first may need it.
    if (PyGILState_Check()) {
      jobkit::WithoutGil released;
      return split_now(color, key);
    }
    return split_now(color, key);
  }

  void all_sum(const mx::array& input, mx::array& output, mx::Stream stream) override {
    all_reduce(ReduceOp::kSum, input, output, stream);
  }
  void all_max(const mx::array& input, mx::array& output, mx::Stream stream) override {
    all_reduce(ReduceOp::kMax, input, output, stream);
  }
  void all_min(const mx::array& input, mx::array& output, mx::Stream stream) override {
    all_reduce(ReduceOp::kMin, input, output, stream);
  }

  void all_gather(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(&input, &output, stream,
             [in = input.data<void>(), out = output.data<void>(), count = uint64_t(input.size()),
              dtype = int(dtype_of(input)), timeout_s = timeout_s_](Channel& c, char* error) {
               return c.api()->all_gather(c.group(), in, out, count, dtype, timeout_s, error, kErrorBytes);
             });
  }

  void sum_scatter(const mx::array& input, mx::array& output, mx::Stream stream) override {
    reduce_scatter(ReduceOp::kSum, input, output, stream);
  }

  void send(const mx::array& input, int destination, mx::Stream stream) override {
    dispatch(&input, nullptr, stream,
             [in = input.data<void>(), count = uint64_t(input.size()), dtype = int(dtype_of(input)),
              destination, tag = tag_, timeout_s = timeout_s_](Channel& c, char* error) {
               return c.api()->send(c.group(), in, count, dtype, destination, tag, timeout_s, error,
                                    kErrorBytes);
             });
  }

  void recv(mx::array& output, int source, mx::Stream stream) override {
    dispatch(nullptr, &output, stream,
             [out = output.data<void>(), count = uint64_t(output.size()), dtype = int(dtype_of(output)),
              source, tag = tag_, timeout_s = timeout_s_](Channel& c, char* error) {
               return c.api()->recv(c.group(), out, count, dtype, source, tag, timeout_s, error, kErrorBytes);
             });
  }

 protected:
  void all_reduce(ReduceOp op, const mx::array& input, mx::array& output, mx::Stream stream) {
    dispatch(
        &input, &output, stream,
        [op = int(op), in = input.data<void>(), out = output.data<void>(), count = uint64_t(input.size()),
         dtype = int(dtype_of(input)), scale = scale_, timeout_s = timeout_s_](Channel& c, char* error) {
          return c.api()->all_reduce(c.group(), op, in, out, count, dtype, scale, timeout_s, error,
                                     kErrorBytes);
        });
  }

  void reduce_scatter(ReduceOp op, const mx::array& input, mx::array& output, mx::Stream stream) {
    dispatch(
        &input, &output, stream,
        [op = int(op), in = input.data<void>(), out = output.data<void>(), count = uint64_t(output.size()),
         dtype = int(dtype_of(input)), scale = scale_, timeout_s = timeout_s_](Channel& c, char* error) {
          return c.api()->reduce_scatter(c.group(), op, in, out, count, dtype, scale, timeout_s, error,
                                         kErrorBytes);
        });
  }

  // Puts `call` on the stream.
  //
  // MLX keeps the inputs until the stream has passed this point and, in `eval`, the outputs too. The outputs
  // of `async_eval` (those carry an event) belong to the program alone, which may drop them while the
  // operation waits for its peers: those are kept here. Keeping the others would forbid their donation to the
  // next operation.
  template <class Call>
  void dispatch(const mx::array* input, mx::array* output, mx::Stream stream, Call&& call) {
    auto& encoder = mx::cpu::get_command_encoder(stream);
    if (input) encoder.set_input_array(*input);
    if (output) encoder.set_output_array(*output);
    const bool keep = output && output->event().valid();
    std::lock_guard<std::mutex> lock(channel_->issuing());
    encoder.dispatch([ticket = std::make_shared<Ticket>(channel_), call = std::forward<Call>(call),
                      kept = keep ? output->data_shared_ptr() : nullptr] { ticket->use(call); });
  }

  double timeout_s() const { return timeout_s_; }

 private:
  std::shared_ptr<GroupImpl> split_now(int color, int key) {
    jobkit_group* part = nullptr;
    Ticket(channel_).use([&](Channel& c, char* error) {
      return c.api()->split(c.group(), color, key, &part, error, kErrorBytes);
    });
    return std::make_shared<BridgedGroup>(std::make_shared<Channel>(channel_->api(), part), timeout_s_, tag_);
  }

  std::shared_ptr<Channel> channel_;
  double timeout_s_;
  int tag_;       // of send and recv, whose MLX signatures have none
  double scale_;  // of sums, whose MLX signatures have none either
};

// Operations that MLX has not, each in the place of one that has the same shapes: so they are lazy, too, and
// can be compiled. Their gradients are not those of what they stand in for; see ops.py.

// Its all_sum is the broadcast of one rank's array.
class BroadcastGroup : public BridgedGroup {
 public:
  BroadcastGroup(std::shared_ptr<Channel> channel, double timeout_s, int root)
      : BridgedGroup(std::move(channel), timeout_s, 0), root_(root) {}
  void all_sum(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(&input, &output, stream,
             [in = input.data<void>(), out = output.data<void>(), count = uint64_t(input.size()),
              dtype = int(dtype_of(input)), root = root_, timeout_s = timeout_s()](Channel& c, char* error) {
               return c.api()->broadcast(c.group(), in, out, count, dtype, root, timeout_s, error,
                                         kErrorBytes);
             });
  }

 private:
  int root_;
};

// Its all_sum exchanges the blocks of axis 0, which are as many as ranks.
class ExchangeGroup : public BridgedGroup {
 public:
  using BridgedGroup::BridgedGroup;
  void all_sum(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(&input, &output, stream,
             [in = input.data<void>(), out = output.data<void>(), count = uint64_t(input.size()) / size(),
              dtype = int(dtype_of(input)), timeout_s = timeout_s()](Channel& c, char* error) {
               return c.api()->all_to_all(c.group(), in, out, count, dtype, timeout_s, error, kErrorBytes);
             });
  }
};

// Its sum_scatter is that of another reduction.
class ScatterGroup : public BridgedGroup {
 public:
  ScatterGroup(std::shared_ptr<Channel> channel, double timeout_s, int op, double scale)
      : BridgedGroup(std::move(channel), timeout_s, 0, scale), op_(static_cast<ReduceOp>(op)) {}
  void sum_scatter(const mx::array& input, mx::array& output, mx::Stream stream) override {
    reduce_scatter(op_, input, output, stream);
  }

 private:
  ReduceOp op_;
};

// A group of one. MLX never calls its operations: there they return their input, and send and recv raise.
class GroupOfOne : public mx::distributed::detail::GroupImpl {
 public:
  mx::Stream communication_stream(mx::StreamOrDevice stream) override {
    return mx::to_stream(stream, mx::Device::cpu);
  }
  int rank() override { return 0; }
  int size() override { return 1; }
  std::shared_ptr<GroupImpl> split(int color, int) override {
    check_color(color);
    return std::make_shared<GroupOfOne>();
  }
  void all_sum(const mx::array&, mx::array&, mx::Stream) override { refuse(); }
  void all_max(const mx::array&, mx::array&, mx::Stream) override { refuse(); }
  void all_min(const mx::array&, mx::array&, mx::Stream) override { refuse(); }
  void all_gather(const mx::array&, mx::array&, mx::Stream) override { refuse(); }
  void sum_scatter(const mx::array&, mx::array&, mx::Stream) override { refuse(); }
  void send(const mx::array&, int, mx::Stream) override { refuse(); }
  void recv(mx::array&, int, mx::Stream) override { refuse(); }

 private:
  [[noreturn]] static void refuse() { throw std::runtime_error("[jobkit] a group of one has no peers"); }
};

// A turn for operations that Python itself gives to the engine, between those of MLX's streams.
struct PythonTurn {
  std::shared_ptr<Channel> channel;
  std::unique_ptr<Ticket> ticket;

  void enter() {
    ticket = std::make_unique<Ticket>(channel);
    jobkit::WithoutGil released;
    ticket->wait();
  }
  void exit() { ticket.reset(); }
};

// What Python holds of a channel. The groups made from one share its order.
struct Bridge {
  std::shared_ptr<Channel> channel;

  Bridge(nb::capsule api_capsule, nb::capsule group_capsule) {
    auto* api = static_cast<const jobkit_api*>(PyCapsule_GetPointer(api_capsule.ptr(), kApiCapsule));
    auto* group = static_cast<jobkit_group*>(PyCapsule_GetPointer(group_capsule.ptr(), kGroupCapsule));
    if (!api || !group) throw nb::python_error();
    if (api->version != JOBKIT_API_VERSION) {
      throw std::runtime_error("[jobkit] the bridge to MLX was built for another engine: version " +
                               std::to_string(JOBKIT_API_VERSION) + ", not " + std::to_string(api->version));
    }
    api->retain(group);
    channel = std::make_shared<Channel>(api, group);
  }
};

}  // namespace

NB_MODULE(mlx_group, m) {
  nb::module_::import_("mlx.core");  // registers Group with nanobind
  nb::object backend_error = nb::module_::import_("jobkit.errors").attr("BackendError");
  // Never released: exceptions may be translated until the interpreter is gone.
  nb::register_exception_translator(translate, backend_error.release().ptr());
  nb::class_<Bridge>(m, "Bridge")
      .def(nb::init<nb::capsule, nb::capsule>(), nb::arg("api"), nb::arg("group"))
      .def(
          "group",
          [](const Bridge& bridge, double timeout_s, int tag, double scale) {
            return mx::distributed::Group(
                std::make_shared<BridgedGroup>(bridge.channel, timeout_s, tag, scale));
          },
          nb::arg("timeout_s") = -1.0, nb::arg("tag") = 0, nb::arg("scale") = 1.0)
      .def(
          "broadcasting",
          [](const Bridge& bridge, double timeout_s, int root) {
            return mx::distributed::Group(std::make_shared<BroadcastGroup>(bridge.channel, timeout_s, root));
          },
          nb::arg("timeout_s"), nb::arg("root"))
      .def(
          "exchanging",
          [](const Bridge& bridge, double timeout_s) {
            return mx::distributed::Group(std::make_shared<ExchangeGroup>(bridge.channel, timeout_s, 0));
          },
          nb::arg("timeout_s"))
      .def(
          "scattering",
          [](const Bridge& bridge, double timeout_s, int op, double scale) {
            return mx::distributed::Group(
                std::make_shared<ScatterGroup>(bridge.channel, timeout_s, op, scale));
          },
          nb::arg("timeout_s"), nb::arg("op"), nb::arg("scale"))
      .def("turn", [](const Bridge& bridge) { return PythonTurn{bridge.channel, nullptr}; });
  nb::class_<PythonTurn>(m, "Turn")
      .def("__enter__", &PythonTurn::enter)
      .def("__exit__", [](PythonTurn& turn, nb::args) { turn.exit(); });
  m.def("group_of_one", [] { return mx::distributed::Group(std::make_shared<GroupOfOne>()); });
  m.def("operations_running", [] { return operations_running.load(); });
  m.attr("mlx_version") =
      nb::str((std::to_string(MLX_VERSION_MAJOR) + "." + std::to_string(MLX_VERSION_MINOR) + "." +
               std::to_string(MLX_VERSION_PATCH))
                  .c_str());
}
