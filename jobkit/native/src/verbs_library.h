// The verbs library of this system, loaded when it is first wanted. Nothing of it is needed to build this.
#pragma once

#include <string>
#include <vector>

#include "verbs_abi.h"

namespace jobkit {

struct VerbsLibrary {
  // Loads it once for each path; "" is where the system has it. It is never unloaded. nullptr with the reason
  // in `problem` where there is none, or one that lacks a function. Any thread.
  static const VerbsLibrary* load(const std::string& path, std::string& problem);

  // The devices that there are, in the library's order; with a problem, none and why.
  std::vector<std::string> device_names(std::string& problem) const;
  // The library's words for the status of a completion.
  std::string status_text(int status) const;

  jk_ibv_device** (*get_device_list)(int* n);
  void (*free_device_list)(jk_ibv_device** list);
  const char* (*get_device_name)(jk_ibv_device* device);
  jk_ibv_context* (*open_device)(jk_ibv_device* device);
  int (*close_device)(jk_ibv_context* context);
  int (*query_device)(jk_ibv_context* context, jk_ibv_device_attr* attributes);
  int (*query_port)(jk_ibv_context* context, uint8_t port, jk_ibv_port_attr* attributes);
  int (*query_gid)(jk_ibv_context* context, uint8_t port, int index, jk_ibv_gid* gid);
  jk_ibv_pd* (*alloc_pd)(jk_ibv_context* context);
  int (*dealloc_pd)(jk_ibv_pd* pd);
  jk_ibv_mr* (*reg_mr)(jk_ibv_pd* pd, void* address, size_t n_bytes, int access);
  int (*dereg_mr)(jk_ibv_mr* mr);
  jk_ibv_cq* (*create_cq)(jk_ibv_context* context, int n, void* cq_context, jk_ibv_comp_channel* channel,
                          int vector);
  int (*destroy_cq)(jk_ibv_cq* cq);
  jk_ibv_qp* (*create_qp)(jk_ibv_pd* pd, jk_ibv_qp_init_attr* attributes);
  int (*modify_qp)(jk_ibv_qp* qp, jk_ibv_qp_attr* attributes, int mask);
  int (*destroy_qp)(jk_ibv_qp* qp);

  // nullptr where the library does not have it.
  const char* (*wc_status_str)(int status);
  jk_ibv_comp_channel* (*create_comp_channel)(jk_ibv_context* context);
  int (*destroy_comp_channel)(jk_ibv_comp_channel* channel);
  int (*get_cq_event)(jk_ibv_comp_channel* channel, jk_ibv_cq** cq, void** cq_context);
  void (*ack_cq_events)(jk_ibv_cq* cq, unsigned int n);
  int (*get_async_event)(jk_ibv_context* context, jk_ibv_async_event* event);
  void (*ack_async_event)(jk_ibv_async_event* event);
  int (*query_gid_ex)(jk_ibv_context* context, uint32_t port, uint32_t index, jk_ibv_gid_entry* entry,
                      uint32_t flags, size_t n_entry);
  int (*fork_init)();

  std::string name;  // the file
};

}  // namespace jobkit
