// An RDMA device: its context, the one region of memory that is registered with it, and how it is doing.
//
// All cables of this rank that end at the device share it. What belongs to one cable is in verbs_cable.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "clock.h"
#include "socket.h"
#include "verbs_library.h"

namespace jobkit {

inline constexpr uint8_t kVerbsPort = 1;

class VerbsDevice {
 public:
  // Throws Error: there is no such device, or it cannot be opened.
  VerbsDevice(const VerbsLibrary& library, const std::string& name);
  ~VerbsDevice();
  VerbsDevice(const VerbsDevice&) = delete;
  VerbsDevice& operator=(const VerbsDevice&) = delete;

  const VerbsLibrary& library() const { return library_; }
  const std::string& name() const { return name_; }
  jk_ibv_context* context() const { return context_; }
  jk_ibv_pd* pd() const { return pd_; }
  // Whether it has reliable connections, found out by asking for one.
  bool has_rc() const { return has_rc_; }
  const jk_ibv_device_attr& attributes() const { return attributes_; }
  // Throws Error while the port is not active.
  jk_ibv_port_attr active_port() const;

  // The entry of the GID table to send from: number `wanted` if that is >= 0, else the one of `near`, the
  // address by which this rank reaches the peer otherwise, else the first that is an IPv4 address, else the
  // first that is anything. RoCE v2 goes before RoCE v1. Throws Error.
  struct Gid {
    int index = 0;
    jk_ibv_gid gid{};
  };
  Gid choose_gid(const Address& near, int wanted) const;

  // Registers the region: once, before any slice is taken. Throws Error.
  void reserve(size_t n_bytes);
  uint8_t* take_slice(size_t n_bytes);
  uint32_t local_key() const { return region_->lkey; }

  // Readable when the device has something to say, -1 where it never is.
  int events() const { return context_->async_fd; }
  // Why nothing can be sent over it any more, "" while all is well. Asks the port at most four times a
  // second.
  const std::string& problem();

 private:
  struct Unmap {
    size_t n_bytes;
    void operator()(uint8_t* memory) const;
  };

  void release();
  bool try_rc() const;
  void read_events();

  const VerbsLibrary& library_;
  const std::string name_;
  const uint32_t generation_;
  jk_ibv_context* context_ = nullptr;
  jk_ibv_pd* pd_ = nullptr;
  jk_ibv_device_attr attributes_{};
  bool has_rc_ = false;
  std::unique_ptr<uint8_t, Unmap> memory_{nullptr, Unmap{0}};
  size_t n_taken_ = 0;
  jk_ibv_mr* region_ = nullptr;
  Moment asked_at_{};
  std::string problem_;
};

}  // namespace jobkit
