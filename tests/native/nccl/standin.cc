// A stand-in for libnccl and libcuda on a machine without a GPU: "device" memory is the host's, a stream is a
// thread that does what is queued on it, and ranks are processes that exchange bytes over abstract UNIX
// sockets. It keeps the real ones' habits: calls return before the work is done, a rank that has nobody to
// talk to waits until it is aborted, and nothing checks that ranks call the same.
//
// standin_fault() makes a function fail, standin_count() says how often one was called.
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using std::string;

enum Result { kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5, kInProgress = 7 };
enum Cuda {
  kDone = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNoDevice = 100,
  kInvalidContext = 201,
  kNotReady = 600
};

// --- faults and counts ---

enum FaultKind {
  kReturn = 1,    // the function returns `value`
  kHang = 2,      // what it starts never ends by itself
  kAsync = 3,     // the communicator's asynchronous error becomes `value`, and what it starts never ends
  kProgress = 4,  // it stays in progress for ever
  kStuck = 5,     // the call itself does not return
};

struct Fault {
  int kind = 0, value = 0, after = 0;  // 0: at the next call
};

std::mutex& faults_mutex() {
  static auto* made = new std::mutex;
  return *made;
}
auto& faults() {
  static auto* made = new std::map<string, Fault>;
  return *made;
}
auto& counts() {
  static auto* made = new std::map<string, int>;
  return *made;
}

Fault enter(const char* name) {
  Fault found;
  {
    std::lock_guard lock(faults_mutex());
    counts()[name]++;
    auto at = faults().find(name);
    if (at == faults().end() || at->second.after-- > 0) return {};
    found = at->second;
    if (found.kind != kProgress) faults().erase(at);
  }
  while (found.kind == kStuck) pause();
  return found;
}

// --- CUDA ---

struct Stream {
  std::mutex mutex;
  std::condition_variable some;
  std::deque<std::function<void()>> queue;
  Stream() {
    std::thread([this] { work(); }).detach();
  }
  void push(std::function<void()> task) {
    std::lock_guard lock(mutex);
    queue.push_back(std::move(task));
    some.notify_one();
  }
  void work() {
    for (;;) {
      std::unique_lock lock(mutex);
      some.wait(lock, [&] { return !queue.empty(); });
      auto task = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      task();
    }
  }
};

struct Event {
  std::atomic<int> n_pending{0};
};

Stream& stream_of(void* handle) {
  static auto* usual = new Stream;
  return reinterpret_cast<uintptr_t>(handle) <= 2 ? *usual : *static_cast<Stream*>(handle);
}

std::mutex& memory_mutex() {
  static auto* made = new std::mutex;
  return *made;
}
struct Block {
  size_t n_bytes;
  int device;
};
auto& blocks() {
  static auto* made = new std::map<uintptr_t, Block>;
  return *made;
}
thread_local std::vector<void*> contexts;

int n_devices() {
  const char* text = getenv("STANDIN_DEVICES");
  return text ? atoi(text) : 1;
}

int device_of(uintptr_t pointer) {
  std::lock_guard lock(memory_mutex());
  auto at = blocks().upper_bound(pointer);
  if (at == blocks().begin()) return -1;
  --at;
  return pointer < at->first + at->second.n_bytes ? at->second.device : -1;
}

// --- NCCL ---

constexpr size_t kItemBytes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
enum Op { kSum = 0, kMax = 2, kMin = 3, kFirstScaled = 5 };

float from_half(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  double value = exponent == 0 ? fraction * 0x1p-24 : (1024 + fraction) * __builtin_ldexp(1, exponent - 25);
  if (exponent == 31) value = fraction ? __builtin_nan("") : __builtin_inf();
  return static_cast<float>(h & 0x8000 ? -value : value);
}

uint16_t to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint16_t sign = bits >> 16 & 0x8000;
  const double magnitude = __builtin_fabs(value);
  if (magnitude != magnitude) return sign | 0x7e00;
  if (magnitude == 0) return sign;
  if (magnitude >= 65520) return sign | 0x7c00;
  int exponent = 0;
  __builtin_frexp(magnitude, &exponent);
  const int scale = exponent < -13 ? -24 : exponent - 11;
  const auto steps = static_cast<uint32_t>(__builtin_rint(__builtin_ldexp(magnitude, -scale)));
  // From 2^10 steps on the carry into the exponent does the rest.
  return sign | static_cast<uint16_t>(exponent < -13 ? steps : ((exponent + 13) << 10) + steps);
}

float from_bfloat(uint16_t b) {
  const uint32_t bits = static_cast<uint32_t>(b) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

uint16_t to_bfloat(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (value != value) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Half {
  uint16_t bits;
  operator float() const { return from_half(bits); }
  Half& operator=(float value) { return bits = to_half(value), *this; }
};
struct Bfloat {
  uint16_t bits;
  operator float() const { return from_bfloat(bits); }
  Bfloat& operator=(float value) { return bits = to_bfloat(value), *this; }
};

template <class T, class Wide>
void reduce(int op, const std::vector<const char*>& parts, char* out, size_t count, const char* scale) {
  for (size_t i = 0; i < count; i++) {
    auto part = [&](size_t rank) {
      T value;
      memcpy(&value, parts[rank] + i * sizeof(T), sizeof(T));
      if (!scale) return static_cast<Wide>(value);
      T factor;
      memcpy(&factor, scale, sizeof(T));
      return static_cast<Wide>(static_cast<Wide>(value) * static_cast<Wide>(factor));
    };
    Wide result = part(0);
    for (size_t rank = 1; rank < parts.size(); rank++) {
      const Wide next = part(rank);
      result = op == kMax   ? (next > result ? next : result)
               : op == kMin ? (next < result ? next : result)
                            : static_cast<Wide>(result + next);
    }
    T narrow;
    narrow = result;
    memcpy(out + i * sizeof(T), &narrow, sizeof(T));
  }
}

void reduce(int type, int op, const std::vector<const char*>& parts, char* out, size_t count,
            const char* scale) {
  // Unsigned sums wrap, as the others do on a GPU.
  const bool adds = op == kSum;
  switch (type) {
    case 0:
      return adds ? reduce<uint8_t, uint8_t>(op, parts, out, count, scale)
                  : reduce<int8_t, int8_t>(op, parts, out, count, scale);
    case 1:
      return reduce<uint8_t, uint8_t>(op, parts, out, count, scale);
    case 2:
      return adds ? reduce<uint32_t, uint32_t>(op, parts, out, count, scale)
                  : reduce<int32_t, int32_t>(op, parts, out, count, scale);
    case 3:
      return reduce<uint32_t, uint32_t>(op, parts, out, count, scale);
    case 4:
      return adds ? reduce<uint64_t, uint64_t>(op, parts, out, count, scale)
                  : reduce<int64_t, int64_t>(op, parts, out, count, scale);
    case 5:
      return reduce<uint64_t, uint64_t>(op, parts, out, count, scale);
    case 6:
      return reduce<Half, float>(op, parts, out, count, scale);
    case 7:
      return reduce<float, float>(op, parts, out, count, scale);
    case 8:
      return reduce<double, double>(op, parts, out, count, scale);
    case 9:
      return reduce<Bfloat, float>(op, parts, out, count, scale);
  }
}

struct Comm {
  int rank = 0, size = 1;
  string name;
  std::vector<int> sockets;  // by rank
  std::vector<string> scales;
  std::atomic<int> state{kInProgress};
  std::atomic<bool> aborted{false};
};

struct Piece {
  int peer;
  char* data;
  size_t n_bytes, n_done = 0;
};

void wait_for_abort(Comm& comm) {
  while (!comm.aborted) usleep(1000);
}

// Sends and receives until all of it is done, or the communicator is aborted: then false. The end of a peer
// goes unnoticed, as it does between GPUs of one machine.
bool exchange(Comm& comm, std::vector<Piece> out, std::vector<Piece> in) {
  for (;;) {
    bool open = false;
    std::vector<pollfd> waits;
    for (bool sends : {true, false}) {
      std::vector<bool> busy(comm.size);  // the pieces of a pair go one after another
      for (Piece& piece : sends ? out : in) {
        while (!busy[piece.peer] && piece.n_done < piece.n_bytes) {
          const int fd = comm.sockets[piece.peer];
          char* at = piece.data + piece.n_done;
          const size_t left = piece.n_bytes - piece.n_done;
          const ssize_t n =
              sends ? send(fd, at, left, MSG_DONTWAIT | MSG_NOSIGNAL) : recv(fd, at, left, MSG_DONTWAIT);
          if (n > 0) {
            piece.n_done += n;
            continue;
          }
          if (n < 0 && errno == EAGAIN)
            waits.push_back({fd, static_cast<short>(sends ? POLLOUT : POLLIN), 0});
          busy[piece.peer] = true;
        }
        open = open || piece.n_done < piece.n_bytes;
      }
    }
    if (!open) return true;
    if (comm.aborted) return false;
    poll(waits.data(), waits.size(), 10);
  }
}

struct Call {
  const char* name;
  Comm* comm;
  Stream* stream;
  Fault fault;
  const char* in = nullptr;
  char* out = nullptr;
  size_t count = 0;
  int type = 0, op = 0, peer = 0;
  size_t n_bytes() const { return count * kItemBytes[type]; }
};

// Every rank gets `n` bytes of each other: those at in[rank * stride].
bool everybody(Comm& comm, const char* in, size_t stride, char* out, size_t n) {
  std::vector<Piece> sent, received;
  for (int rank = 0; rank < comm.size; rank++) {
    if (rank == comm.rank) {
      memmove(out + rank * n, in + rank * stride, n);
      continue;
    }
    sent.push_back({rank, const_cast<char*>(in) + rank * stride, n});
    received.push_back({rank, out + rank * n, n});
  }
  return exchange(comm, std::move(sent), std::move(received));
}

void collective(const Call& call) {
  Comm& comm = *call.comm;
  const size_t n = call.n_bytes();
  const string name = call.name;
  if (name == "ncclBroadcast") {
    std::vector<Piece> sent, received;
    if (comm.rank == call.peer) {
      for (int rank = 0; rank < comm.size; rank++)
        if (rank != comm.rank) sent.push_back({rank, const_cast<char*>(call.in), n});
      if (call.out != call.in) memcpy(call.out, call.in, n);
    } else {
      received.push_back({call.peer, call.out, n});
    }
    exchange(comm, std::move(sent), std::move(received));
    return;
  }
  const bool scatters = name == "ncclReduceScatter";
  std::vector<char> all(n * comm.size);
  if (!everybody(comm, call.in, scatters ? n : 0, all.data(), n)) return;
  if (name == "ncclAllGather") {
    memcpy(call.out, all.data(), all.size());
    return;
  }
  std::vector<const char*> parts;
  for (int rank = 0; rank < comm.size; rank++) parts.push_back(all.data() + rank * n);
  const bool scaled = call.op >= kFirstScaled;
  reduce(call.type, scaled ? kSum : call.op, parts, call.out, call.count,
         scaled ? comm.scales[call.op - kFirstScaled].data() : nullptr);
}

// What a group of calls started: messages at once, collectives one after another.
void run(std::vector<Call> calls) {
  for (Call& call : calls) {
    if (call.fault.kind == kAsync) call.comm->state = call.fault.value;
    if (call.fault.kind == kAsync || call.fault.kind == kHang) return wait_for_abort(*call.comm);
  }
  std::vector<Piece> out, in;
  std::vector<Call*> to_self[2];
  for (Call& call : calls) {
    const bool sends = !strcmp(call.name, "ncclSend");
    if (!sends && strcmp(call.name, "ncclRecv")) {
      collective(call);
    } else if (call.peer == call.comm->rank) {
      to_self[sends].push_back(&call);
    } else {
      (sends ? out : in)
          .push_back({call.peer, sends ? const_cast<char*>(call.in) : call.out, call.n_bytes()});
    }
  }
  for (size_t i = 0; i < to_self[0].size(); i++)
    memmove(to_self[0][i]->out, to_self[1][i]->in, to_self[0][i]->n_bytes());
  exchange(*calls[0].comm, std::move(out), std::move(in));
}

thread_local int depth = 0;
thread_local std::vector<Call> pending;

int end_group() {
  if (pending.empty()) return kSuccess;
  auto calls = std::move(pending);
  pending.clear();
  for (const Call& call : calls)
    if (call.fault.kind == kReturn) return call.fault.value;
  for (const Call& call : calls)
    if (call.fault.kind == kProgress) call.comm->state = kInProgress;
  calls[0].stream->push([calls] { run(calls); });
  return calls[0].comm->state;
}

int enqueue(Call call) {
  if (call.fault.kind == kReturn && depth == 0) return call.fault.value;
  if (call.type < 0 || call.type > 9 || call.peer < 0 || call.peer >= call.comm->size)
    return kInvalidArgument;
  pending.push_back(call);
  return depth > 0 ? static_cast<int>(kSuccess) : end_group();
}

sockaddr_un address_of(const string& name, int rank, socklen_t& n) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const string path = name + "." + std::to_string(rank);
  memcpy(address.sun_path + 1, path.data(), path.size());  // abstract: no file
  n = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + path.size());
  return address;
}

// Connects to the ranks below, lets those above connect.
bool meet(Comm& comm) {
  socklen_t n;
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_un own = address_of(comm.name, comm.rank, n);
  if (bind(listener, reinterpret_cast<sockaddr*>(&own), n) || listen(listener, comm.size)) return false;
  for (int peer = 0; peer < comm.rank; peer++) {
    sockaddr_un address = address_of(comm.name, peer, n);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(fd, reinterpret_cast<sockaddr*>(&address), n)) {
      if (comm.aborted) return false;
      usleep(1000);
    }
    send(fd, &comm.rank, sizeof comm.rank, MSG_NOSIGNAL);
    comm.sockets[peer] = fd;
  }
  for (int left = comm.size - 1 - comm.rank; left > 0;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    int peer;
    if (fd >= 0 && recv(fd, &peer, sizeof peer, MSG_WAITALL) == sizeof peer) {
      comm.sockets[peer] = fd;
      left--;
    } else if (comm.aborted) {
      return false;
    } else {
      usleep(1000);
    }
  }
  close(listener);
  return true;
}

}  // namespace

extern "C" {

void standin_fault(const char* name, int kind, int value, int after) {
  std::lock_guard lock(faults_mutex());
  faults()[name] = {kind, value, after};
}

int standin_count(const char* name) {
  std::lock_guard lock(faults_mutex());
  return counts()[name];
}

// Keeps a stream busy for so long.
void standin_delay(void* stream, int milliseconds) {
  stream_of(stream).push([=] { usleep(1000 * milliseconds); });
}

size_t standin_bytes() {
  std::lock_guard lock(memory_mutex());
  size_t n = 0;
  for (auto& [pointer, block] : blocks()) n += block.n_bytes;
  return n;
}

// --- CUDA ---

int cuInit(unsigned) { return n_devices() > 0 ? kDone : kNoDevice; }

int cuDeviceGetCount(int* count) { return *count = n_devices(), kDone; }

int cuDeviceGet(int* device, int ordinal) {
  if (ordinal < 0 || ordinal >= n_devices()) return kInvalidValue;
  return *device = ordinal, kDone;
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
  return *context = reinterpret_cast<void*>(static_cast<intptr_t>(device + 1)), kDone;
}

int cuDevicePrimaryCtxRelease_v2(int) { return kDone; }

int cuCtxPushCurrent_v2(void* context) { return contexts.push_back(context), kDone; }

int cuCtxPopCurrent_v2(void** context) {
  if (contexts.empty()) return kInvalidContext;
  *context = contexts.back();
  return contexts.pop_back(), kDone;
}

int cuStreamCreate(void** stream, unsigned) {
  if (contexts.empty()) return kInvalidContext;
  return *stream = new Stream, kDone;
}

int cuStreamDestroy_v2(void*) { return kDone; }

int cuStreamSynchronize(void* stream) {
  std::atomic<bool> reached{false};
  stream_of(stream).push([&] { reached = true; });
  while (!reached) usleep(50);
  return kDone;
}

int cuEventCreate(void** event, unsigned) {
  if (contexts.empty()) return kInvalidContext;
  return *event = new std::shared_ptr<Event>(std::make_shared<Event>()), kDone;
}

int cuEventRecord(void* event, void* stream) {
  const Fault fault = enter("cuEventRecord");
  if (fault.kind == kReturn) return fault.value;
  auto made = *static_cast<std::shared_ptr<Event>*>(event);
  made->n_pending++;
  stream_of(stream).push([made] { made->n_pending--; });
  return kDone;
}

int cuEventQuery(void* event) {
  const Fault fault = enter("cuEventQuery");
  if (fault.kind == kReturn) return fault.value;
  return (*static_cast<std::shared_ptr<Event>*>(event))->n_pending ? kNotReady : kDone;
}

int cuEventDestroy_v2(void* event) {
  delete static_cast<std::shared_ptr<Event>*>(event);
  return kDone;
}

int cuMemAlloc_v2(uint64_t* pointer, size_t n_bytes) {
  const Fault fault = enter("cuMemAlloc_v2");
  if (fault.kind == kReturn) return fault.value;
  if (contexts.empty()) return kInvalidContext;
  void* made = malloc(n_bytes);
  if (!made) return kOutOfMemory;
  *pointer = reinterpret_cast<uint64_t>(made);
  std::lock_guard lock(memory_mutex());
  blocks()[*pointer] = {n_bytes, static_cast<int>(reinterpret_cast<intptr_t>(contexts.back())) - 1};
  return kDone;
}

int cuMemFree_v2(uint64_t pointer) {
  std::lock_guard lock(memory_mutex());
  if (!blocks().erase(pointer)) return kInvalidValue;
  free(reinterpret_cast<void*>(pointer));
  return kDone;
}

int cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t n_bytes, void* stream) {
  stream_of(stream).push(
      [=] { memmove(reinterpret_cast<void*>(target), reinterpret_cast<void*>(source), n_bytes); });
  return kDone;
}

int cuMemcpyDtoH_v2(void* target, uint64_t source, size_t n_bytes) {
  memcpy(target, reinterpret_cast<void*>(source), n_bytes);
  return kDone;
}

int cuPointerGetAttribute(void* value, int, uint64_t pointer) {
  const int device = device_of(pointer);
  if (device < 0) return kInvalidValue;
  return *static_cast<int*>(value) = device, kDone;
}

int cuGetErrorString(int status, const char** text) {
  static const std::map<int, const char*> texts{{kInvalidValue, "invalid argument"},
                                                {kOutOfMemory, "out of memory"},
                                                {kNoDevice, "no CUDA-capable device is detected"},
                                                {700, "an illegal memory access was encountered"}};
  auto at = texts.find(status);
  *text = at == texts.end() ? "unknown error" : at->second;
  return kDone;
}

// --- NCCL ---

struct UniqueId {
  char internal[128];
};

int ncclGetVersion(int* version) {
  const char* text = getenv("STANDIN_VERSION");
  return *version = text ? atoi(text) : 22700, kSuccess;
}

int ncclGetUniqueId(UniqueId* id) {
  const Fault fault = enter("ncclGetUniqueId");
  if (fault.kind == kReturn) return fault.value;
  uint64_t random[2];
  if (getrandom(random, sizeof random, 0) != sizeof random) return kSystemError;
  memset(id, 0, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "standin-nccl-%016lx%016lx", random[0], random[1]);
  return kSuccess;
}

const char* ncclGetErrorString(int result) {
  static const char* texts[] = {"no error",
                                "unhandled cuda error",
                                "unhandled system error",
                                "internal error",
                                "invalid argument",
                                "invalid usage",
                                "remote process exited or there was a network error",
                                "NCCL operation in progress"};
  return result >= 0 && result <= 7 ? texts[result] : "unknown result code";
}

const char* ncclGetLastError(void*) { return "the stand-in was told to"; }

int ncclCommInitRankConfig(void** made, int size, UniqueId id, int rank, const void* config) {
  const Fault fault = enter("ncclCommInitRankConfig");
  if (fault.kind == kReturn) return fault.value;
  if (contexts.empty() || !config) return kInvalidUsage;
  auto* comm = new Comm;
  comm->rank = rank;
  comm->size = size;
  comm->name = id.internal;
  comm->sockets.assign(size, -1);
  *made = comm;
  if (fault.kind != kProgress) {
    std::thread([comm, fault] {
      const bool met = meet(*comm);
      comm->state = !met                   ? static_cast<int>(kSystemError)
                    : fault.kind == kAsync ? fault.value
                                           : static_cast<int>(kSuccess);
    }).detach();
  }
  return kInProgress;
}

int ncclCommGetAsyncError(void* comm, int* state) {
  const Fault fault = enter("ncclCommGetAsyncError");
  if (fault.kind == kReturn) return fault.value;
  return *state = static_cast<Comm*>(comm)->state, kSuccess;
}

int ncclCommFinalize(void* comm) {
  const Fault fault = enter("ncclCommFinalize");
  if (fault.kind == kReturn) return fault.value;
  if (fault.kind == kProgress) static_cast<Comm*>(comm)->state = kInProgress;
  return static_cast<Comm*>(comm)->state;
}

int ncclCommAbort(void* comm) {
  enter("ncclCommAbort");
  static_cast<Comm*>(comm)->aborted = true;
  return kSuccess;
}

int ncclCommDestroy(void* comm) {
  const Fault fault = enter("ncclCommDestroy");
  if (fault.kind == kReturn) return fault.value;
  for (int fd : static_cast<Comm*>(comm)->sockets)
    if (fd >= 0) close(fd);
  return kSuccess;
}

int ncclGroupStart() { return depth++, kSuccess; }

int ncclGroupEnd() {
  if (depth == 0) return kInvalidUsage;
  return --depth == 0 ? end_group() : static_cast<int>(kSuccess);
}

int ncclAllReduce(const char* in, char* out, size_t count, int type, int op, void* comm, void* stream) {
  const char* name = "ncclAllReduce";
  return enqueue(
      {name, static_cast<Comm*>(comm), &stream_of(stream), enter(name), in, out, count, type, op, 0});
}

int ncclReduceScatter(const char* in, char* out, size_t count, int type, int op, void* comm, void* stream) {
  const char* name = "ncclReduceScatter";
  return enqueue(
      {name, static_cast<Comm*>(comm), &stream_of(stream), enter(name), in, out, count, type, op, 0});
}

int ncclAllGather(const char* in, char* out, size_t count, int type, void* comm, void* stream) {
  const char* name = "ncclAllGather";
  return enqueue(
      {name, static_cast<Comm*>(comm), &stream_of(stream), enter(name), in, out, count, type, 0, 0});
}

int ncclBroadcast(const char* in, char* out, size_t count, int type, int root, void* comm, void* stream) {
  const char* name = "ncclBroadcast";
  return enqueue(
      {name, static_cast<Comm*>(comm), &stream_of(stream), enter(name), in, out, count, type, 0, root});
}

int ncclSend(const char* in, size_t count, int type, int peer, void* comm, void* stream) {
  const char* name = "ncclSend";
  return enqueue(
      {name, static_cast<Comm*>(comm), &stream_of(stream), enter(name), in, nullptr, count, type, 0, peer});
}

int ncclRecv(char* out, size_t count, int type, int peer, void* comm, void* stream) {
  const char* name = "ncclRecv";
  return enqueue(
      {name, static_cast<Comm*>(comm), &stream_of(stream), enter(name), nullptr, out, count, type, 0, peer});
}

int ncclRedOpCreatePreMulSum(int* op, const void* scale, int type, int, void* comm) {
  auto& scales = static_cast<Comm*>(comm)->scales;
  scales.emplace_back(static_cast<const char*>(scale), kItemBytes[type]);
  return *op = kFirstScaled + static_cast<int>(scales.size()) - 1, kSuccess;
}

int ncclRedOpDestroy(int, void*) { return kSuccess; }

}  // extern "C"
