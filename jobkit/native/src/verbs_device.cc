#include "verbs_device.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "process.h"

namespace jobkit {
namespace {

constexpr auto kPortEvery = milliseconds(250);
constexpr int kMaxGids = 1024;
constexpr size_t kPage = 64 << 10;  // the largest page of the usual systems

std::string cause() { return system_text(errno); }

// An address as a GID shows it: IPv4 as ::ffff:a.b.c.d.
bool as_gid(const Address& address, jk_ibv_gid& gid) {
  gid = {};
  if (address.family() == AF_INET6) {
    std::memcpy(gid.raw, &reinterpret_cast<const sockaddr_in6*>(address.raw())->sin6_addr, sizeof gid.raw);
    return true;
  }
  if (address.family() != AF_INET) return false;
  gid.raw[10] = gid.raw[11] = 0xff;
  std::memcpy(gid.raw + 12, &reinterpret_cast<const sockaddr_in*>(address.raw())->sin_addr, 4);
  return true;
}

bool is_zero(const jk_ibv_gid& gid) {
  return std::all_of(gid.raw, gid.raw + sizeof gid.raw, [](uint8_t each) { return each == 0; });
}

bool is_ipv4(const jk_ibv_gid& gid) {
  return std::all_of(gid.raw, gid.raw + 10, [](uint8_t each) { return each == 0; }) && gid.raw[10] == 0xff &&
         gid.raw[11] == 0xff;
}

bool is_link_local(const jk_ibv_gid& gid) { return gid.raw[0] == 0xfe && (gid.raw[1] & 0xc0) == 0x80; }

}  // namespace

void VerbsDevice::Unmap::operator()(uint8_t* memory) const { ::munmap(memory, n_bytes); }

VerbsDevice::VerbsDevice(const VerbsLibrary& library, const std::string& name)
    : library_(library), name_(name), generation_(process::generation()) {
  int n = 0;
  jk_ibv_device** list = library_.get_device_list(&n);
  if (!list) throw Error(library_.name + ": the list of RDMA devices: " + cause());
  std::string known;
  for (int i = 0; i < n && !context_; i++) {
    const std::string each = library_.get_device_name(list[i]);
    known += (known.empty() ? "" : ", ") + each;
    if (each != name) continue;
    errno = 0;
    context_ = library_.open_device(list[i]);
    if (!context_) known = "cannot be opened: " + cause();
    if (!context_) break;
  }
  library_.free_device_list(list);
  if (!context_) {
    if (known.starts_with("cannot")) throw Error("device " + name_ + " " + known);
    throw Error("no device " + name_ + ", expected " +
                (known.empty() ? "any: there is none" : "one of " + known));
  }
  for (int descriptor : {context_->cmd_fd, context_->async_fd}) {
    if (descriptor >= 0) process::keep_from_children(descriptor);
  }
  try {
    errno = 0;
    pd_ = library_.alloc_pd(context_);
    if (!pd_) throw Error("device " + name_ + ": no protection domain (is its port down?): " + cause());
    if (int result = library_.query_device(context_, &attributes_); result != 0)
      throw Error("device " + name_ + ": its attributes: " + system_text(result));
    has_rc_ = try_rc();
    // Asked for only when poll has said that there is something; and never waited for.
    if (context_->async_fd >= 0) {
      int flags = ::fcntl(context_->async_fd, F_GETFL);
      ::fcntl(context_->async_fd, F_SETFL, flags | O_NONBLOCK);
    }
  } catch (...) {
    release();
    throw;
  }
}

VerbsDevice::~VerbsDevice() {
  if (generation_ == process::generation()) release();
}

void VerbsDevice::release() {
  if (region_) library_.dereg_mr(region_);
  if (pd_) library_.dealloc_pd(pd_);
  if (context_) {
    for (int descriptor : {context_->cmd_fd, context_->async_fd}) {
      if (descriptor >= 0) process::forget(descriptor);
    }
    library_.close_device(context_);
  }
}

bool VerbsDevice::try_rc() const {
  jk_ibv_cq* cq = library_.create_cq(context_, 2, nullptr, nullptr, 0);
  if (!cq) throw Error("device " + name_ + ": no completion queue: " + cause());
  jk_ibv_qp_init_attr wanted{};
  wanted.send_cq = wanted.recv_cq = cq;
  wanted.cap = {1, 1, 1, 1, 0};
  wanted.qp_type = JK_QPT_RC;
  jk_ibv_qp* qp = library_.create_qp(pd_, &wanted);
  if (qp) library_.destroy_qp(qp);
  library_.destroy_cq(cq);
  return qp != nullptr;
}

jk_ibv_port_attr VerbsDevice::active_port() const {
  jk_ibv_port_attr port{};
  if (int result = library_.query_port(context_, kVerbsPort, &port); result != 0)
    throw Error("device " + name_ + ": its port: " + system_text(result));
  if (port.state != JK_PORT_ACTIVE)
    throw Error("device " + name_ + ": its port is not active: is the cable plugged in at both ends?");
  return port;
}

VerbsDevice::Gid VerbsDevice::choose_gid(const Address& near, int wanted) const {
  const int n = std::min(active_port().gid_tbl_len, kMaxGids);
  jk_ibv_gid here;
  const bool has_address = as_gid(near, here);
  Gid best;
  int best_worth = 0;
  for (int index = 0; index < n; index++) {
    Gid each{index, {}};
    if (library_.query_gid(context_, kVerbsPort, index, &each.gid) != 0 || is_zero(each.gid)) continue;
    if (wanted >= 0 && index != wanted) continue;
    jk_ibv_gid_entry entry{};
    bool is_v2 = true;
    if (library_.query_gid_ex && library_.query_gid_ex(context_, kVerbsPort, static_cast<uint32_t>(index),
                                                       &entry, 0, sizeof entry) == 0)
      is_v2 = entry.gid_type != JK_GID_TYPE_ROCE_V1;
    const bool is_near = has_address && std::memcmp(here.raw, each.gid.raw, sizeof here.raw) == 0;
    const int worth = 1 + is_v2 + 2 * !is_link_local(each.gid) + 4 * is_ipv4(each.gid) + 8 * is_near;
    if (worth > best_worth) {
      best = each;
      best_worth = worth;
    }
  }
  if (best_worth > 0) return best;
  if (wanted >= 0)
    throw Error("device " + name_ + ": no GID " + std::to_string(wanted) + " in its table of " +
                std::to_string(n) + " (JOBKIT_JACCL_GID)");
  throw Error("device " + name_ + ": its table of GIDs is empty: give the interface an IPv4 address");
}

void VerbsDevice::reserve(size_t n_bytes) {
  n_bytes = (n_bytes + kPage - 1) / kPage * kPage;
  void* memory = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Error("device " + name_ + ": no memory for its messages: " + cause());
  memory_ = {static_cast<uint8_t*>(memory), Unmap{n_bytes}};
#ifdef MADV_DONTFORK
  ::madvise(memory, n_bytes, MADV_DONTFORK);
#endif
  errno = 0;
  region_ = library_.reg_mr(pd_, memory, n_bytes, JK_ACCESS_LOCAL_WRITE);
  if (!region_) {
    std::string text =
        "device " + name_ + ": " + std::to_string(n_bytes >> 10) + " KiB not registered: " + cause();
    if (errno == ENOMEM || errno == EPERM || errno == EAGAIN) text += " (raise the limit with 'ulimit -l')";
    throw Error(text);
  }
}

uint8_t* VerbsDevice::take_slice(size_t n_bytes) {
  if (n_bytes > memory_.get_deleter().n_bytes - n_taken_)
    throw Error("device " + name_ + ": more cables than its memory was made for");
  uint8_t* slice = memory_.get() + n_taken_;
  n_taken_ += n_bytes;
  return slice;
}

void VerbsDevice::read_events() {
  pollfd ready{context_->async_fd, POLLIN, 0};
  if (ready.fd < 0 || !library_.get_async_event || !library_.ack_async_event) return;
  while (problem_.empty() && ::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN)) {
    jk_ibv_async_event event{};
    if (library_.get_async_event(context_, &event) != 0) return;
    const int kind = event.event_type;
    const bool is_of_port = kind == JK_EVENT_PORT_ERR;
    if (is_of_port && event.element.port_num == kVerbsPort)
      problem_ = "device " + name_ + ": its port went down";
    if (kind == JK_EVENT_DEVICE_FATAL) problem_ = "device " + name_ + " failed";
    if (kind == JK_EVENT_CQ_ERR || kind == JK_EVENT_QP_FATAL || kind == JK_EVENT_QP_REQ_ERR ||
        kind == JK_EVENT_QP_ACCESS_ERR)
      problem_ = "device " + name_ + ": a queue failed (event " + std::to_string(kind) + ")";
    library_.ack_async_event(&event);
  }
}

const std::string& VerbsDevice::problem() {
  if (!problem_.empty()) return problem_;
  read_events();
  const Moment now = Clock::now();
  if (!problem_.empty() || now - asked_at_ < kPortEvery) return problem_;
  asked_at_ = now;
  try {
    active_port();
  } catch (const Error& error) {
    problem_ = error.what();
  }
  return problem_;
}

}  // namespace jobkit
