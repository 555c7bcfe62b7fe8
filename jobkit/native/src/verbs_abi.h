// The part of the verbs API that a link uses, declared here so that nothing has to be installed to build it:
// libibverbs.so.1 on Linux, librdma.dylib on macOS. The layouts are those of the public header
// <infiniband/verbs.h>, under names of our own; tests/native/src/test_verbs_abi.py compares the two.
//
// In C as well as in C++.
#pragma once

#ifdef __cplusplus
#include <cstddef>
#include <cstdint>
extern "C" {
#else
#include <stddef.h>
#include <stdint.h>
#endif

struct jk_ibv_device;
struct jk_ibv_pd;
struct jk_ibv_srq;
struct jk_ibv_cq;
struct jk_ibv_qp;
struct jk_ibv_context;

union jk_ibv_gid {
  uint8_t raw[16];
  uint64_t words[2];  // of which only the alignment counts
};

enum jk_ibv_qp_type { JK_QPT_RC = 2, JK_QPT_UC = 3 };
enum jk_ibv_qp_state { JK_QPS_RESET = 0, JK_QPS_INIT = 1, JK_QPS_RTR = 2, JK_QPS_RTS = 3, JK_QPS_ERR = 6 };
enum jk_ibv_port_state { JK_PORT_DOWN = 1, JK_PORT_ACTIVE = 4 };
enum { JK_WR_SEND = 2 };
enum { JK_SEND_SIGNALED = 1 << 1, JK_SEND_INLINE = 1 << 3 };
enum { JK_ACCESS_LOCAL_WRITE = 1 };
enum { JK_WC_SUCCESS = 0, JK_WC_LOC_LEN_ERR = 1, JK_WC_WR_FLUSH_ERR = 5, JK_WC_RETRY_EXC_ERR = 12 };
enum { JK_WC_RNR_RETRY_EXC_ERR = 13 };
enum { JK_WC_OP_SEND = 0, JK_WC_OP_RECV = 1 << 7 };
enum { JK_GID_TYPE_IB = 0, JK_GID_TYPE_ROCE_V1 = 1, JK_GID_TYPE_ROCE_V2 = 2 };
enum {
  JK_EVENT_CQ_ERR = 0,
  JK_EVENT_QP_FATAL = 1,
  JK_EVENT_QP_REQ_ERR = 2,
  JK_EVENT_QP_ACCESS_ERR = 3,
  JK_EVENT_DEVICE_FATAL = 8,
  JK_EVENT_PORT_ACTIVE = 9,
  JK_EVENT_PORT_ERR = 10,
};
enum {
  JK_QP_STATE = 1 << 0,
  JK_QP_ACCESS_FLAGS = 1 << 3,
  JK_QP_PKEY_INDEX = 1 << 4,
  JK_QP_PORT = 1 << 5,
  JK_QP_AV = 1 << 7,
  JK_QP_PATH_MTU = 1 << 8,
  JK_QP_TIMEOUT = 1 << 9,
  JK_QP_RETRY_CNT = 1 << 10,
  JK_QP_RNR_RETRY = 1 << 11,
  JK_QP_RQ_PSN = 1 << 12,
  JK_QP_MAX_QP_RD_ATOMIC = 1 << 13,
  JK_QP_MIN_RNR_TIMER = 1 << 15,
  JK_QP_SQ_PSN = 1 << 16,
  JK_QP_MAX_DEST_RD_ATOMIC = 1 << 17,
  JK_QP_DEST_QPN = 1 << 20,
};

struct jk_ibv_device_attr {
  char fw_ver[64];
  uint64_t node_guid;
  uint64_t sys_image_guid;
  uint64_t max_mr_size;
  uint64_t page_size_cap;
  uint32_t vendor_id;
  uint32_t vendor_part_id;
  uint32_t hw_ver;
  int max_qp;
  int max_qp_wr;
  unsigned int device_cap_flags;
  int max_sge;
  int max_sge_rd;
  int max_cq;
  int max_cqe;
  int max_mr;
  uint8_t rest[128];  // of no interest here, and more than there is
};

struct jk_ibv_port_attr {
  int state;
  int max_mtu;
  int active_mtu;
  int gid_tbl_len;
  uint32_t port_cap_flags;
  uint32_t max_msg_sz;
  uint32_t bad_pkey_cntr;
  uint32_t qkey_viol_cntr;
  uint16_t pkey_tbl_len;
  uint16_t lid;
  uint16_t sm_lid;
  uint8_t rest[64];  // of no interest here, and more than there is
};

struct jk_ibv_gid_entry {
  union jk_ibv_gid gid;
  uint32_t gid_index;
  uint32_t port_num;
  uint32_t gid_type;
  uint32_t ndev_ifindex;
};

struct jk_ibv_mr {
  struct jk_ibv_context* context;
  struct jk_ibv_pd* pd;
  void* addr;
  size_t length;
  uint32_t handle;
  uint32_t lkey;
  uint32_t rkey;
};

struct jk_ibv_comp_channel {
  struct jk_ibv_context* context;
  int fd;
  int refcnt;
};

struct jk_ibv_cq_head {
  struct jk_ibv_context* context;
};

struct jk_ibv_sge {
  uint64_t addr;
  uint32_t length;
  uint32_t lkey;
};

struct jk_ibv_send_wr {
  uint64_t wr_id;
  struct jk_ibv_send_wr* next;
  struct jk_ibv_sge* sg_list;
  int num_sge;
  int opcode;
  unsigned int send_flags;
  uint32_t imm_data;
  uint64_t rest[11];  // of operations that are not used here
};

struct jk_ibv_recv_wr {
  uint64_t wr_id;
  struct jk_ibv_recv_wr* next;
  struct jk_ibv_sge* sg_list;
  int num_sge;
};

struct jk_ibv_wc {
  uint64_t wr_id;
  int status;
  int opcode;
  uint32_t vendor_err;
  uint32_t byte_len;
  uint32_t imm_data;
  uint32_t qp_num;
  uint32_t src_qp;
  unsigned int wc_flags;
  uint16_t pkey_index;
  uint16_t slid;
  uint8_t sl;
  uint8_t dlid_path_bits;
};

struct jk_ibv_qp_cap {
  uint32_t max_send_wr;
  uint32_t max_recv_wr;
  uint32_t max_send_sge;
  uint32_t max_recv_sge;
  uint32_t max_inline_data;
};

struct jk_ibv_qp_init_attr {
  void* qp_context;
  struct jk_ibv_cq* send_cq;
  struct jk_ibv_cq* recv_cq;
  struct jk_ibv_srq* srq;
  struct jk_ibv_qp_cap cap;
  int qp_type;
  int sq_sig_all;
};

struct jk_ibv_global_route {
  union jk_ibv_gid dgid;
  uint32_t flow_label;
  uint8_t sgid_index;
  uint8_t hop_limit;
  uint8_t traffic_class;
};

struct jk_ibv_ah_attr {
  struct jk_ibv_global_route grh;
  uint16_t dlid;
  uint8_t sl;
  uint8_t src_path_bits;
  uint8_t static_rate;
  uint8_t is_global;
  uint8_t port_num;
};

struct jk_ibv_qp_attr {
  int qp_state;
  int cur_qp_state;
  int path_mtu;
  int path_mig_state;
  uint32_t qkey;
  uint32_t rq_psn;
  uint32_t sq_psn;
  uint32_t dest_qp_num;
  unsigned int qp_access_flags;
  struct jk_ibv_qp_cap cap;
  struct jk_ibv_ah_attr ah_attr;
  struct jk_ibv_ah_attr alt_ah_attr;
  uint16_t pkey_index;
  uint16_t alt_pkey_index;
  uint8_t en_sqd_async_notify;
  uint8_t sq_draining;
  uint8_t max_rd_atomic;
  uint8_t max_dest_rd_atomic;
  uint8_t min_rnr_timer;
  uint8_t port_num;
  uint8_t timeout;
  uint8_t retry_cnt;
  uint8_t rnr_retry;
  uint8_t alt_port_num;
  uint8_t alt_timeout;
  uint32_t rate_limit;
};

// The beginning of a queue pair.
struct jk_ibv_qp_head {
  struct jk_ibv_context* context;
  void* qp_context;
  struct jk_ibv_pd* pd;
  struct jk_ibv_cq* send_cq;
  struct jk_ibv_cq* recv_cq;
  struct jk_ibv_srq* srq;
  uint32_t handle;
  uint32_t qp_num;
};

struct jk_ibv_async_event {
  union {
    struct jk_ibv_cq* cq;
    struct jk_ibv_qp* qp;
    int port_num;
  } element;
  int event_type;
};

// What every context has: polling and posting are calls through these pointers, not symbols of the library.
struct jk_ibv_context_ops {
  void* before_poll_cq[11];
  int (*poll_cq)(struct jk_ibv_cq* cq, int n, struct jk_ibv_wc* wc);
  int (*req_notify_cq)(struct jk_ibv_cq* cq, int solicited_only);
  void* before_post_send[12];
  int (*post_send)(struct jk_ibv_qp* qp, struct jk_ibv_send_wr* wr, struct jk_ibv_send_wr** bad);
  int (*post_recv)(struct jk_ibv_qp* qp, struct jk_ibv_recv_wr* wr, struct jk_ibv_recv_wr** bad);
  void* after_post_recv[5];
};

// The beginning of a context.
struct jk_ibv_context {
  struct jk_ibv_device* device;
  struct jk_ibv_context_ops ops;
  int cmd_fd;
  int async_fd;
};

#ifdef __cplusplus
}
#endif
