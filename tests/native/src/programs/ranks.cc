// The whole engine with every rank a thread of this process, over loopback, over shared memory and over RDMA
// cables of a stand-in: its operations against plain loops, groups made of groups, messages, and what happens
// when a rank fails.
//
//   ranks [tcp|shm|STANDIN_MODE]

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "bootstrap.h"
#include "check.h"
#include "group.h"
#include "mesh.h"

namespace {

using namespace jobkit;

bool shared_memory = false;
std::string cables;  // the stand-in's mode, "" for none
const CallOptions kPatient{60, {}};

// Ports that nobody else gets, held as the launcher holds them: bound, open to others only afterwards.
class Ports {
 public:
  explicit Ports(int n) {
    for (int i = 0; i < n; i++) {
      sockaddr_in any{};
      any.sin_family = AF_INET;
      any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      const int held = ::socket(AF_INET, SOCK_STREAM, 0), yes = 1;
      CHECK(::bind(held, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0);
      CHECK(::setsockopt(held, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0);
      socklen_t n_bytes = sizeof any;
      CHECK(::getsockname(held, reinterpret_cast<sockaddr*>(&any), &n_bytes) == 0);
      held_.push_back(held);
      hosts.push_back({"127.0.0.1:" + std::to_string(ntohs(any.sin_port))});
    }
  }
  ~Ports() {
    for (int held : held_) ::close(held);
  }
  std::vector<std::vector<std::string>> hosts;

 private:
  std::vector<int> held_;
};

// A folder that connects the devices of one run, gone with it.
class Fabric {
 public:
  Fabric() {
    CHECK(::mkdtemp(folder_) != nullptr);
    ::setenv("STANDIN_FABRIC", folder_, 1);
    ::setenv("STANDIN_MODE", cables.c_str(), 1);
  }
  ~Fabric() { std::filesystem::remove_all(folder_); }

 private:
  char folder_[32] = "/tmp/jobkit-fabric-XXXXXX";
};

CableOptions cables_among(int n) {
  CableOptions options;
  options.library = STANDIN_LIBRARY;
  options.queue_pair = "auto";
  options.devices.resize(n, std::vector<std::vector<std::string>>(n));
  for (int a = 0; a < n; a++) {
    for (int b = 0; b < n; b++) {
      if (a != b) options.devices[a][b] = {"standin0"};
    }
  }
  return options;
}

// Runs the program on n ranks; what it throws ends this process.
void run(const char* what, int n, const std::function<void(Group&)>& program) {
  static uint32_t epoch = 0;
  epoch++;
  Ports ports(n);
  const Fabric fabric;
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < n; rank++) {
    ranks.emplace_back([&, rank] {
      try {
        ConnectOptions options;
        options.rank = rank;
        options.hosts = ports.hosts;
        options.job = "programs";
        options.epoch = epoch;
        options.token = "a secret";
        options.connect_timeout_s = 60;
        options.shared_memory = shared_memory;
        if (!cables.empty()) options.cables = cables_among(n);
        Group world(Mesh::make(connect(options), {}, 1.0, ""), 60);
        program(world);
        world.close();
      } catch (const std::exception& error) {
        CHECK(false, std::string(what) + ", rank " + std::to_string(rank) + ": " + error.what());
      }
    });
  }
  for (std::thread& each : ranks) each.join();
}

// What the call throws, "" if nothing.
std::string failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Element i of rank r's array: a whole number, so that sums are exact in any order.
float value(int rank, size_t i) { return static_cast<float>((rank * 31 + static_cast<int>(i % 1009)) % 97); }

std::vector<float> values(int rank, size_t count) {
  std::vector<float> made(count);
  for (size_t i = 0; i < count; i++) made[i] = value(rank, i);
  return made;
}

float expected(ReduceOp op, int n, size_t i) {
  float result = value(0, i);
  for (int r = 1; r < n; r++) {
    const float other = value(r, i);
    result = op == ReduceOp::kSum   ? result + other
             : op == ReduceOp::kMax ? std::max(result, other)
                                    : std::min(result, other);
  }
  return result;
}

// --- operations ---

void reductions(Group& group, size_t count) {
  const int n = group.size(), rank = group.rank();
  for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
    const std::vector<float> mine = values(rank, count);
    std::vector<float> out(count, -1), in_place = mine;
    group.all_reduce(op, mine.data(), out.data(), count, Dtype::kFloat32, kPatient);
    group.all_reduce(op, in_place.data(), in_place.data(), count, Dtype::kFloat32, kPatient);
    for (size_t i = 0; i < count; i++) CHECK(out[i] == expected(op, n, i), "all_reduce");
    CHECK(in_place == out, "all_reduce in place");

    const auto blocks = values(rank, count * static_cast<size_t>(n));
    std::vector<float> block(count, -1);
    group.reduce_scatter(op, blocks.data(), block.data(), count, Dtype::kFloat32, kPatient,
                         op == ReduceOp::kSum ? 0.5 : 1.0);
    for (size_t i = 0; i < count; i++) {
      const float whole = expected(op, n, static_cast<size_t>(rank) * count + i);
      CHECK(block[i] == (op == ReduceOp::kSum ? whole / 2 : whole), "reduce_scatter");
    }
  }
}

void movements(Group& group, size_t count) {
  const int n = group.size(), rank = group.rank();
  const auto all = count * static_cast<size_t>(n);
  const std::vector<float> mine = values(rank, count), many = values(rank, all);
  std::vector<float> out(all, -1), one(count, -1);

  group.all_gather(mine.data(), out.data(), count, Dtype::kFloat32, kPatient);
  for (size_t i = 0; i < all; i++)
    CHECK(out[i] == value(static_cast<int>(i / count), i % count), "all_gather");

  group.all_to_all(many.data(), out.data(), count, Dtype::kFloat32, kPatient);
  for (size_t i = 0; i < all; i++)
    CHECK(out[i] == value(static_cast<int>(i / count), static_cast<size_t>(rank) * count + i % count),
          "all_to_all");

  for (int root = 0; root < n; root++) {
    std::fill(one.begin(), one.end(), -1.0F);
    group.broadcast(mine.data(), one.data(), count, Dtype::kFloat32, root, kPatient);
    for (size_t i = 0; i < count; i++) CHECK(one[i] == value(root, i), "broadcast");
  }
  const int root = n - 1;
  std::fill(out.begin(), out.end(), -1.0F);
  group.gather(mine.data(), rank == root ? out.data() : nullptr, count, Dtype::kFloat32, root, kPatient);
  for (size_t i = 0; rank == root && i < all; i++)
    CHECK(out[i] == value(static_cast<int>(i / count), i % count), "gather");
  group.scatter(rank == root ? many.data() : nullptr, one.data(), count, Dtype::kFloat32, root, kPatient);
  for (size_t i = 0; i < count; i++)
    CHECK(one[i] == value(root, static_cast<size_t>(rank) * count + i), "scatter");
  group.barrier(kPatient);
}

void messages(Group& group, size_t count) {
  const int n = group.size(), rank = group.rank(), right = (rank + 1) % n, left = (rank + n - 1) % n;
  const std::vector<float> mine = values(rank, count);
  std::vector<float> got(count, -1);
  group.sendrecv(mine.data(), count, right, got.data(), count, left, Dtype::kFloat32, 0, kPatient);
  CHECK(got == values(left, count), "sendrecv");
  // Two tags, received the other way round: the first message waits at the receiver.
  const std::vector<float> first(10, 1), second(10, 2);
  std::vector<float> a(10), b(10);
  group.send(first.data(), 10, Dtype::kFloat32, right, 7, kPatient);
  group.send(second.data(), 10, Dtype::kFloat32, right, 8, kPatient);
  group.recv(b.data(), 10, Dtype::kFloat32, left, 8, kPatient);
  group.recv(a.data(), 10, Dtype::kFloat32, left, 7, kPatient);
  CHECK(a == first && b == second, "tags");
}

void all_operations(int n) {
  run("operations", n, [&](Group& group) {
    const auto size = static_cast<size_t>(n);
    for (size_t count : {size_t{0}, size_t{1}, size - 1, size, size + 1, size_t{1000}, size_t{100'003}}) {
      reductions(group, count);
      movements(group, count);
      messages(group, count);
    }
  });
}

// Half of the ranks compute in one group while the others do in another, and each rank in two at once.
void groups_of_groups(int n) {
  run("groups", n, [&](Group& world) {
    const int rank = world.rank();
    auto half = world.split(rank % 2, -1, kPatient);
    auto reversed = world.split(0, world.size() - rank, kPatient);
    CHECK(reversed->rank() == world.size() - 1 - rank);
    const bool is_out = rank == 0;
    auto rest = world.split(is_out ? std::nullopt : std::optional(1), -1, kPatient);
    CHECK((rest == nullptr) == is_out);
    std::thread beside([&] {
      for (int i = 0; i < 20; i++) reversed->barrier(kPatient);
    });
    for (int i = 0; i < 20; i++) {
      float one = 1, sum = 0;
      half->all_reduce(ReduceOp::kSum, &one, &sum, 1, Dtype::kFloat32, kPatient);
      CHECK(sum == static_cast<float>(half->size()));
    }
    beside.join();
    world.barrier(kPatient);
  });
}

// --- failures: every rank learns of them, and nobody waits ---

void calls_differ() {
  run("calls differ", 3, [](Group& group) {
    std::vector<float> data(100);
    const uint64_t count = group.rank() == 1 ? 99 : 100;
    const std::string text = failure_of([&] {
      group.all_reduce(ReduceOp::kSum, data.data(), data.data(), count, Dtype::kFloat32, kPatient);
    });
    const std::string next = failure_of([&] { group.barrier(kPatient); });
    CHECK(has(text + next, "calls differ") && has(text + next, "99 elements"), text + " | " + next);
  });
}

void somebody_aborts() {
  run("abort", 4, [](Group& group) {
    if (group.rank() == 2) {
      group.abort("enough of it");
    } else {
      const std::string text = failure_of([&] { group.barrier(kPatient); });
      CHECK(has(text, "enough of it"), text);
    }
    CHECK(!failure_of([&] { group.barrier(kPatient); }).empty());
  });
}

void somebody_leaves() {
  run("leaving", 3, [](Group& group) {
    float x = 1;
    group.all_reduce(ReduceOp::kSum, &x, &x, 1, Dtype::kFloat32, kPatient);
    if (group.rank() == 1) return;
    const std::string text = failure_of([&] { group.barrier(kPatient); });
    CHECK(has(text, "rank 1") && has(text, "left"), text);
  });
}

void a_disjoint_group_goes_on() {
  run("disjoint", 4, [](Group& world) {
    auto pair = world.split(world.rank() / 2, -1, kPatient);
    // The news of a failure may overtake the last message of a barrier: it waits until all are out of theirs.
    char out_of_it = 1;
    if (world.rank() == 0) {
      for (int other : {1, 2, 3}) world.recv(&out_of_it, 1, Dtype::kUint8, other, 0, kPatient);
      pair->abort("this pair only");
    } else {
      world.send(&out_of_it, 1, Dtype::kUint8, 0, 0, kPatient);
    }
    if (world.rank() >= 2) {
      for (int i = 0; i < 50; i++) pair->barrier(kPatient);
    } else {
      CHECK(has(failure_of([&] { pair->barrier(kPatient); }), "this pair only"));
    }
  });
}

void time_runs_out() {
  run("timeout", 2, [](Group& group) {
    const std::string text =
        group.rank() == 0 ? failure_of([&] { group.barrier({0.3, {}}); }) : failure_of([&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(1500));
          group.barrier(kPatient);
        });
    CHECK(!text.empty());
    if (group.rank() == 0) CHECK(has(text, "rank 1"), text);
  });
}

void one_group_serves_one_thread() {
  run("two threads", 2, [](Group& group) {
    if (group.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      return group.barrier(kPatient);
    }
    std::atomic<int> n_refused = 0;
    std::thread other([&] { n_refused += !failure_of([&] { group.barrier({2, {}}); }).empty(); });
    n_refused += !failure_of([&] { group.barrier({2, {}}); }).empty();
    other.join();
    CHECK(n_refused >= 1);
  });
}

void somebody_interrupts() {
  run("interrupt", 2, [](Group& group) {
    if (group.rank() == 1) {
      CHECK(!failure_of([&] {
               group.barrier(kPatient);
               group.barrier(kPatient);
             }).empty());
      return;
    }
    group.barrier(kPatient);
    int n_asked = 0;
    float x;
    CHECK(!failure_of([&] {
             group.recv(&x, 1, Dtype::kFloat32, 1, 0, {60, [&] { return ++n_asked > 2; }});
           }).empty());
  });
}

}  // namespace

int main(int n_words, char** words) {
  const std::string links = n_words > 1 ? words[1] : "tcp";
  shared_memory = links == "shm";
  if (links != "shm" && links != "tcp") cables = links;
  for (int n : {2, 3, 4, 5}) all_operations(n);
  groups_of_groups(4);
  calls_differ();
  somebody_aborts();
  somebody_leaves();
  a_disjoint_group_goes_on();
  time_runs_out();
  one_group_serves_one_thread();
  somebody_interrupts();
  std::puts("ranks: ok");
}
