// A stand-in for libibverbs, for tests: devices whose wire is a file that all processes map.
//
// What a SEND carries goes into a ring of the queue pair that it is for, and from there into a posted receive
// when that side polls. Nothing here is fast, or safe against processes that do not keep to the rules; what
// counts is that it refuses what a device refuses, and loses what a device loses.
//
//   STANDIN_FABRIC   a folder: those who have the same are connected. A file down/DEVICE in it takes the port
//                    of that device down; a file cut/DEVICE cuts its cable where nobody notices
//   STANDIN_DEVICES  names separated by commas
//   STANDIN_MODE     words separated by commas:
//     rc             reliable and unreliable connections (the default)
//     uc             unreliable ones only; what meets no posted receive is lost, and its SEND succeeds
//     apple          as uc, but nothing is lost; a SEND has to have as many frames of 4 KiB as its receive;
//     at
//                    most 10 queue pairs, 100 regions, 63 requests of a kind; one piece each, nothing inline
//     drop=N         every Nth SEND of an unreliable connection is lost, and succeeds
//     delay=US       what is sent arrives so much later
//     reorder        completions of sends and of receives come in another order, those of sends late
//     silent         no completion channel
//     noevents       no asynchronous events

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "verbs_abi.h"

enum {
  kPairs = 256,
  kEntries = 32,
  kMessage = 64 << 10,
  kFrame = 4096,
  kRequests = 128,
  kCompletions = 256,
  kFirstNumber = 0x100,
  kNoRc = 102,  // what Apple's stack says
};
static const uint64_t kRefreshNs = 20000000;

// --- the wire ---

struct entry {
  uint64_t visible_at;
  uint32_t n_bytes;
  uint8_t bytes[kMessage];
};

// A queue pair as the other side sees it.
struct pair {
  atomic_int alive;
  int pid;
  atomic_uint_least64_t n_sent;    // entries written, ever
  atomic_uint_least64_t n_taken;   // of them those that were taken out
  atomic_uint_least64_t n_posted;  // receives, ever
  atomic_int armed;                // its owner wants to be told
  atomic_int unreachable;          // its device's port is down, or its cable cut
  uint64_t bell;                   // the owner's completion queue
  char channel[64];                // where to tell it; "": nowhere
  struct entry ring[kEntries];
};

struct fabric {
  atomic_uint n_pairs;
  struct pair pairs[kPairs];
};

// --- what the API hands out ---

struct jk_ibv_device {
  char name[32];
};

struct context {
  struct jk_ibv_context base;
  struct fabric* fabric;
  char folder[256];
  char name[32];
  bool has_rc, apple, lossless, reorders, noevents, silent;
  uint64_t drop, delay_ns;
  unsigned n_regions, n_pairs;
  uint64_t refreshed_at;
  bool is_down, is_cut;
};

struct jk_ibv_pd {
  struct jk_ibv_context* context;
};

struct region {
  struct jk_ibv_mr base;
  struct region* next;
};

struct channel {
  struct jk_ibv_comp_channel base;
  char name[64];
};

struct queue_pair;

struct jk_ibv_cq {
  struct jk_ibv_context* context;
  struct channel* channel;
  struct queue_pair* pairs;
  int n_most;
};

struct receive {
  uint64_t id;
  uint8_t* place;
  uint32_t n_bytes;
};

struct send {
  uint64_t id;
  bool signaled;
  uint32_t n_bytes;
  uint8_t* bytes;
};

// The base has to be the beginning of libibverbs's struct.
struct queue_pair {
  struct jk_ibv_qp_head base;
  int state;
  int type;
  struct pair *own, *peer;
  struct jk_ibv_qp_cap cap;
  struct receive receives[kRequests];
  uint64_t n_receives_posted, n_receives_used;
  struct send waiting[kRequests];  // no receive is posted for them yet
  uint64_t n_waiting_in, n_waiting_out;
  struct jk_ibv_wc done[kCompletions];  // of sends
  uint64_t n_done_in, n_done_out;
  uint32_t n_unsignaled, n_outstanding;
  uint64_t n_sent, n_lost;
  uint32_t covers[kCompletions];  // sends that the completion of the same place speaks for
  bool broken;
  struct queue_pair* next;
};

static struct region* regions;  // of this process; guarded by:
static atomic_flag regions_lock = ATOMIC_FLAG_INIT;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct context* of(struct jk_ibv_context* context) { return (struct context*)context; }

// --- the mode ---

static const char* word(const char* name) {
  const char* mode = getenv("STANDIN_MODE");
  size_t n = strlen(name);
  for (const char* at = mode; at && *at;) {
    const char* end = strchrnul(at, ',');
    if ((size_t)(end - at) >= n && strncmp(at, name, n) == 0 && (at[n] == 0 || at[n] == ',' || at[n] == '='))
      return at + n;
    at = *end ? end + 1 : end;
  }
  return NULL;
}

static uint64_t number(const char* name) {
  const char* found = word(name);
  return found && *found == '=' ? strtoull(found + 1, NULL, 10) : 0;
}

static bool marked(const struct context* context, const char* kind) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s/%s", context->folder, kind, context->name);
  return access(path, F_OK) == 0;
}

// A process that was killed and not yet waited for is dead too.
static bool is_dead(int pid) {
  char path[64], text[512] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return true;
  ssize_t n = read(file, text, sizeof text - 1);
  close(file);
  const char* name_end = n > 0 ? strrchr(text, ')') : NULL;
  return !name_end || name_end[2] == 'Z' || name_end[2] == 'X';
}

static bool refresh(struct context* context) {
  uint64_t now = now_ns();
  if (now - context->refreshed_at < kRefreshNs) return false;
  context->refreshed_at = now;
  context->is_down = marked(context, "down");
  context->is_cut = marked(context, "cut");
  return true;
}

// --- devices ---

struct jk_ibv_device** ibv_get_device_list(int* n) {
  const char* names = getenv("STANDIN_DEVICES");
  if (!names) names = "standin0";
  struct jk_ibv_device** list = calloc(65, sizeof *list);
  int found = 0;
  for (const char* at = names; *at && found < 64;) {
    const char* end = strchrnul(at, ',');
    list[found] = calloc(1, sizeof **list);
    snprintf(list[found]->name, sizeof list[found]->name, "%.*s", (int)(end - at), at);
    found++;
    at = *end ? end + 1 : end;
  }
  if (n) *n = found;
  return list;
}

void ibv_free_device_list(struct jk_ibv_device** list) {
  for (int i = 0; list[i]; i++) free(list[i]);
  free(list);
}

const char* ibv_get_device_name(struct jk_ibv_device* device) { return device->name; }

static int poll_cq(struct jk_ibv_cq* cq, int n, struct jk_ibv_wc* wc);
static int req_notify_cq(struct jk_ibv_cq* cq, int solicited_only);
static int post_send(struct jk_ibv_qp* qp, struct jk_ibv_send_wr* wr, struct jk_ibv_send_wr** bad);
static int post_recv(struct jk_ibv_qp* qp, struct jk_ibv_recv_wr* wr, struct jk_ibv_recv_wr** bad);

static struct fabric* map_fabric(const char* folder) {
  char path[512];
  snprintf(path, sizeof path, "%s/fabric", folder);
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return NULL;
  struct fabric* fabric = NULL;
  if (ftruncate(file, sizeof *fabric) == 0) {
    fabric = mmap(NULL, sizeof *fabric, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (fabric == MAP_FAILED) fabric = NULL;
  }
  close(file);
  return fabric;
}

struct jk_ibv_context* ibv_open_device(struct jk_ibv_device* device) {
  const char* folder = getenv("STANDIN_FABRIC");
  if (!folder) {
    errno = ENODEV;
    return NULL;
  }
  struct context* made = calloc(1, sizeof *made);
  snprintf(made->folder, sizeof made->folder, "%s", folder);
  snprintf(made->name, sizeof made->name, "%s", device->name);
  made->fabric = map_fabric(folder);
  if (!made->fabric) {
    free(made);
    return NULL;
  }
  made->apple = word("apple") != NULL;
  made->has_rc = !made->apple && !word("uc");
  made->lossless = made->apple;
  made->reorders = word("reorder") != NULL;
  made->silent = word("silent") != NULL;
  made->noevents = word("noevents") != NULL;
  made->drop = number("drop");
  made->delay_ns = number("delay") * 1000;
  made->base.device = NULL;
  made->base.ops.poll_cq = poll_cq;
  made->base.ops.req_notify_cq = req_notify_cq;
  made->base.ops.post_send = post_send;
  made->base.ops.post_recv = post_recv;
  made->base.cmd_fd = -1;
  char path[512];
  snprintf(path, sizeof path, "%s/down", folder);
  mkdir(path, 0700);
  made->base.async_fd = inotify_init1(IN_CLOEXEC);
  if (!made->noevents) inotify_add_watch(made->base.async_fd, path, IN_CREATE);
  return &made->base;
}

int ibv_close_device(struct jk_ibv_context* context) {
  close(context->async_fd);
  munmap(of(context)->fabric, sizeof(struct fabric));
  free(context);
  return 0;
}

int ibv_query_device(struct jk_ibv_context* context, struct jk_ibv_device_attr* attributes) {
  memset(attributes, 0, offsetof(struct jk_ibv_device_attr, rest));
  attributes->max_qp = of(context)->apple ? 10 : kPairs;
  attributes->max_qp_wr = kRequests;
  attributes->max_sge = of(context)->apple ? 1 : 2;
  attributes->max_mr = 100;
  return 0;
}

int ibv_query_port(struct jk_ibv_context* context, uint8_t port, struct jk_ibv_port_attr* attributes) {
  if (port != 1) return EINVAL;
  memset(attributes, 0, offsetof(struct jk_ibv_port_attr, rest));
  of(context)->is_down = marked(of(context), "down");
  attributes->state = of(context)->is_down ? JK_PORT_DOWN : JK_PORT_ACTIVE;
  attributes->max_mtu = attributes->active_mtu = 5;
  attributes->gid_tbl_len = 4;
  attributes->max_msg_sz = kMessage;
  return 0;
}

// As rxe on loopback: first an address of the link, then 127.0.0.1 as RoCE v1 and v2; the last is empty.
int ibv_query_gid(struct jk_ibv_context* context, uint8_t port, int index, union jk_ibv_gid* gid) {
  (void)context;
  if (port != 1 || index < 0 || index > 3) return -1;
  memset(gid, 0, sizeof *gid);
  if (index == 0) {
    gid->raw[0] = 0xfe;
    gid->raw[1] = 0x80;
    gid->raw[15] = 1;
  } else if (index < 3) {
    const uint8_t address[] = {0xff, 0xff, 127, 0, 0, 1};
    memcpy(gid->raw + 10, address, sizeof address);
  }
  return 0;
}

int _ibv_query_gid_ex(struct jk_ibv_context* context, uint32_t port, uint32_t index,
                      struct jk_ibv_gid_entry* entry, uint32_t flags, size_t n_entry) {
  (void)flags;
  if (n_entry != sizeof *entry) return EINVAL;
  if (ibv_query_gid(context, (uint8_t)port, (int)index, &entry->gid) != 0) return ENODATA;
  entry->gid_index = index;
  entry->port_num = port;
  entry->gid_type = index == 1 ? JK_GID_TYPE_ROCE_V1 : JK_GID_TYPE_ROCE_V2;
  return 0;
}

int ibv_get_async_event(struct jk_ibv_context* context, struct jk_ibv_async_event* event) {
  char bytes[4096] __attribute__((aligned(8)));
  ssize_t n = read(context->async_fd, bytes, sizeof bytes);
  for (char* at = bytes; n > 0 && at < bytes + n;) {
    struct inotify_event* each = (struct inotify_event*)at;
    at += sizeof *each + each->len;
    if (each->len == 0 || strcmp(each->name, of(context)->name) != 0) continue;
    event->event_type = JK_EVENT_PORT_ERR;
    event->element.port_num = 1;
    return 0;
  }
  return -1;
}

void ibv_ack_async_event(struct jk_ibv_async_event* event) { (void)event; }

int ibv_fork_init(void) { return 0; }

const char* ibv_wc_status_str(int status) {
  switch (status) {
    case JK_WC_SUCCESS:
      return "success";
    case JK_WC_LOC_LEN_ERR:
      return "local length error";
    case JK_WC_WR_FLUSH_ERR:
      return "work request flushed error";
    case JK_WC_RETRY_EXC_ERR:
      return "transport retry counter exceeded";
    case JK_WC_RNR_RETRY_EXC_ERR:
      return "RNR retry counter exceeded";
    default:
      return "local error";
  }
}

// --- memory ---

struct jk_ibv_pd* ibv_alloc_pd(struct jk_ibv_context* context) {
  struct jk_ibv_pd* made = calloc(1, sizeof *made);
  made->context = context;
  return made;
}

int ibv_dealloc_pd(struct jk_ibv_pd* pd) {
  free(pd);
  return 0;
}

static void lock_regions(void) {
  while (atomic_flag_test_and_set(&regions_lock)) {
  }
}
static void unlock_regions(void) { atomic_flag_clear(&regions_lock); }

struct jk_ibv_mr* ibv_reg_mr(struct jk_ibv_pd* pd, void* address, size_t n_bytes, int access) {
  (void)access;
  static atomic_uint n_keys;
  struct context* context = of(pd->context);
  if (context->apple && context->n_regions == 100) {
    errno = ENOMEM;
    return NULL;
  }
  context->n_regions++;
  struct region* made = calloc(1, sizeof *made);
  made->base.context = pd->context;
  made->base.pd = pd;
  made->base.addr = address;
  made->base.length = n_bytes;
  made->base.lkey = made->base.rkey = atomic_fetch_add(&n_keys, 1) + 1;
  lock_regions();
  made->next = regions;
  regions = made;
  unlock_regions();
  return &made->base;
}

int ibv_dereg_mr(struct jk_ibv_mr* mr) {
  of(mr->context)->n_regions--;
  lock_regions();
  struct region** at = &regions;
  while (&(*at)->base != mr) at = &(*at)->next;
  *at = (*at)->next;
  unlock_regions();
  free(mr);
  return 0;
}

static bool is_registered(const struct queue_pair* pair, const struct jk_ibv_sge* piece) {
  bool found = false;
  lock_regions();
  for (struct region* each = regions; each && !found; each = each->next) {
    uint64_t begin = (uint64_t)(uintptr_t)each->base.addr;
    found = each->base.lkey == piece->lkey && each->base.pd == pair->base.pd && piece->addr >= begin &&
            piece->addr + piece->length <= begin + each->base.length;
  }
  unlock_regions();
  return found;
}

// --- completion ---

static void address_of(const char* name, struct sockaddr_un* address, socklen_t* n_bytes) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path + 1, name, strlen(name));
  *n_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

struct jk_ibv_comp_channel* ibv_create_comp_channel(struct jk_ibv_context* context) {
  static atomic_uint n_channels;
  if (of(context)->silent) {
    errno = EOPNOTSUPP;
    return NULL;
  }
  struct channel* made = calloc(1, sizeof *made);
  struct sockaddr_un address;
  socklen_t n_bytes;
  snprintf(made->name, sizeof made->name, "standin-%d-%u", getpid(), atomic_fetch_add(&n_channels, 1));
  address_of(made->name, &address, &n_bytes);
  made->base.context = context;
  made->base.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (made->base.fd < 0 || bind(made->base.fd, (struct sockaddr*)&address, n_bytes) != 0) {
    close(made->base.fd);
    free(made);
    return NULL;
  }
  return &made->base;
}

int ibv_destroy_comp_channel(struct jk_ibv_comp_channel* channel) {
  close(channel->fd);
  free(channel);
  return 0;
}

int ibv_get_cq_event(struct jk_ibv_comp_channel* channel, struct jk_ibv_cq** cq, void** cq_context) {
  uint64_t bell;
  if (recv(channel->fd, &bell, sizeof bell, 0) != sizeof bell) return -1;
  *cq = (struct jk_ibv_cq*)(uintptr_t)bell;
  *cq_context = NULL;
  return 0;
}

void ibv_ack_cq_events(struct jk_ibv_cq* cq, unsigned int n) {
  (void)cq;
  (void)n;
}

struct jk_ibv_cq* ibv_create_cq(struct jk_ibv_context* context, int n, void* cq_context,
                                struct jk_ibv_comp_channel* channel, int vector) {
  (void)cq_context;
  (void)vector;
  struct jk_ibv_cq* made = calloc(1, sizeof *made);
  made->context = context;
  made->channel = (struct channel*)channel;
  made->n_most = n;
  return made;
}

int ibv_destroy_cq(struct jk_ibv_cq* cq) {
  if (cq->pairs) return EBUSY;
  free(cq);
  return 0;
}

static int req_notify_cq(struct jk_ibv_cq* cq, int solicited_only) {
  (void)solicited_only;
  for (struct queue_pair* each = cq->pairs; each; each = each->next) atomic_store(&each->own->armed, 1);
  return 0;
}

static void ring_bell(struct pair* pair) {
  if (!pair->channel[0] || !atomic_exchange(&pair->armed, 0)) return;
  struct sockaddr_un address;
  socklen_t n_bytes;
  address_of(pair->channel, &address, &n_bytes);
  int from = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sendto(from, &pair->bell, sizeof pair->bell, MSG_DONTWAIT, (struct sockaddr*)&address, n_bytes);
  close(from);
}

// --- queue pairs ---

struct jk_ibv_qp* ibv_create_qp(struct jk_ibv_pd* pd, struct jk_ibv_qp_init_attr* wanted) {
  struct context* context = of(pd->context);
  const struct jk_ibv_qp_cap* cap = &wanted->cap;
  const uint32_t most = context->apple ? 63 : kRequests, most_inline = context->apple ? 0 : 256;
  errno = EINVAL;
  if (wanted->qp_type == JK_QPT_RC && !context->has_rc) errno = context->apple ? kNoRc : EOPNOTSUPP;
  if (wanted->qp_type == JK_QPT_RC && !context->has_rc) return NULL;
  if (cap->max_send_wr > most || cap->max_recv_wr > most || cap->max_inline_data > most_inline) return NULL;
  if (cap->max_send_sge > (context->apple ? 1u : 2u)) return NULL;
  if (context->apple && context->n_pairs == 10) errno = EBUSY;
  if (context->apple && context->n_pairs == 10) return NULL;
  unsigned index = atomic_fetch_add(&context->fabric->n_pairs, 1);
  if (index >= kPairs) {
    errno = ENOSPC;
    return NULL;
  }
  context->n_pairs++;
  struct queue_pair* made = calloc(1, sizeof *made);
  made->base.context = pd->context;
  made->base.pd = pd;
  made->base.send_cq = wanted->send_cq;
  made->base.recv_cq = wanted->recv_cq;
  made->base.qp_num = kFirstNumber + index;
  made->type = wanted->qp_type;
  made->cap = *cap;
  made->own = &context->fabric->pairs[index];
  made->own->pid = getpid();
  made->own->bell = (uint64_t)(uintptr_t)wanted->recv_cq;
  if (wanted->recv_cq->channel)
    snprintf(made->own->channel, sizeof made->own->channel, "%s", wanted->recv_cq->channel->name);
  atomic_store(&made->own->alive, 1);
  made->next = wanted->recv_cq->pairs;
  wanted->recv_cq->pairs = made;
  return (struct jk_ibv_qp*)made;
}

int ibv_destroy_qp(struct jk_ibv_qp* qp) {
  struct queue_pair* pair = (struct queue_pair*)qp;
  atomic_store(&pair->own->alive, 0);
  of(pair->base.context)->n_pairs--;
  struct queue_pair** at = &pair->base.recv_cq->pairs;
  while (*at != pair) at = &(*at)->next;
  *at = pair->next;
  for (; pair->n_waiting_out < pair->n_waiting_in; pair->n_waiting_out++)
    free(pair->waiting[pair->n_waiting_out % kRequests].bytes);
  free(pair);
  return 0;
}

// What the kernel wants to be given for a change of state, and nothing beyond it.
static int needed(int state, int type) {
  const int reliable = type == JK_QPT_RC;
  switch (state) {
    case JK_QPS_INIT:
      return JK_QP_STATE | JK_QP_PKEY_INDEX | JK_QP_PORT | JK_QP_ACCESS_FLAGS;
    case JK_QPS_RTR:
      return JK_QP_STATE | JK_QP_AV | JK_QP_PATH_MTU | JK_QP_DEST_QPN | JK_QP_RQ_PSN |
             (reliable ? JK_QP_MAX_DEST_RD_ATOMIC | JK_QP_MIN_RNR_TIMER : 0);
    case JK_QPS_RTS:
      return JK_QP_STATE | JK_QP_SQ_PSN |
             (reliable ? JK_QP_TIMEOUT | JK_QP_RETRY_CNT | JK_QP_RNR_RETRY | JK_QP_MAX_QP_RD_ATOMIC : 0);
    default:
      return -1;
  }
}

int ibv_modify_qp(struct jk_ibv_qp* qp, struct jk_ibv_qp_attr* wanted, int mask) {
  struct queue_pair* pair = (struct queue_pair*)qp;
  struct context* context = of(pair->base.context);
  if (wanted->qp_state != pair->state + 1 || mask != needed(wanted->qp_state, pair->type)) return EINVAL;
  if (wanted->qp_state == JK_QPS_INIT && wanted->port_num != 1) return EINVAL;
  if (wanted->qp_state == JK_QPS_RTR) {
    union jk_ibv_gid own;
    const uint32_t index = wanted->dest_qp_num - kFirstNumber;
    const int from = wanted->ah_attr.grh.sgid_index;
    if (index >= kPairs || !wanted->ah_attr.is_global || wanted->path_mtu < 1 || wanted->path_mtu > 5)
      return EINVAL;
    // The address of the link leads nowhere.
    if (ibv_query_gid(&context->base, 1, from, &own) != 0 || own.raw[0] == 0xfe || own.raw[15] == 0)
      return 22;
    if (memcmp(&own, &wanted->ah_attr.grh.dgid, sizeof own) != 0) return ETIMEDOUT;
    pair->peer = &context->fabric->pairs[index];
  }
  pair->state = wanted->qp_state;
  return 0;
}

static void complete_send(struct queue_pair* pair, uint64_t id, int status) {
  struct jk_ibv_wc* wc = &pair->done[pair->n_done_in % kCompletions];
  memset(wc, 0, sizeof *wc);
  wc->wr_id = id;
  wc->status = status;
  wc->opcode = JK_WC_OP_SEND;
  wc->qp_num = pair->base.qp_num;
  pair->covers[pair->n_done_in % kCompletions] = pair->n_unsignaled + 1;
  pair->n_unsignaled = 0;
  pair->n_done_in++;
}

// False: it has to wait.
static bool transmit(struct queue_pair* pair, const struct send* send) {
  struct context* context = of(pair->base.context);
  struct pair* to = pair->peer;
  const bool reliable = pair->type == JK_QPT_RC;
  uint64_t n = atomic_load(&to->n_sent);
  const bool is_alive = atomic_load(&to->alive),
             is_cut = atomic_load(&to->unreachable) || atomic_load(&pair->own->unreachable);
  if (!is_alive || is_cut) {
    if (reliable) pair->broken = true;
    complete_send(pair, send->id, reliable ? JK_WC_RETRY_EXC_ERR : JK_WC_SUCCESS);
    return true;
  }
  const bool has_receive = n < atomic_load(&to->n_posted);
  const bool has_room = n - atomic_load(&to->n_taken) < kEntries;
  const bool may_lose = !reliable && !context->lossless;
  if (!has_room || (!has_receive && !may_lose)) return false;
  const bool is_lost = !reliable && context->drop && ++pair->n_sent % context->drop == 0;
  if (has_receive && !is_lost) {
    struct entry* entry = &to->ring[n % kEntries];
    entry->visible_at = context->delay_ns ? now_ns() + context->delay_ns : 0;
    entry->n_bytes = send->n_bytes;
    memcpy(entry->bytes, send->bytes, send->n_bytes);
    atomic_store(&to->n_sent, n + 1);
    ring_bell(to);
  }
  if (send->signaled) {
    complete_send(pair, send->id, JK_WC_SUCCESS);
  } else {
    pair->n_unsignaled++;
  }
  return true;
}

static int post_send(struct jk_ibv_qp* qp, struct jk_ibv_send_wr* wr, struct jk_ibv_send_wr** bad) {
  struct queue_pair* pair = (struct queue_pair*)qp;
  for (; wr; wr = wr->next) {
    *bad = wr;
    if (pair->state != JK_QPS_RTS || wr->opcode != JK_WR_SEND) return EINVAL;
    if (wr->num_sge < 1 || (uint32_t)wr->num_sge > pair->cap.max_send_sge) return EINVAL;
    if (pair->n_outstanding == pair->cap.max_send_wr) return ENOMEM;
    const bool is_inline = wr->send_flags & JK_SEND_INLINE;
    uint32_t n_bytes = 0;
    for (int i = 0; i < wr->num_sge; i++) {
      n_bytes += wr->sg_list[i].length;
      if (!is_inline && !is_registered(pair, &wr->sg_list[i])) return EFAULT;
    }
    if (n_bytes > kMessage || (is_inline && n_bytes > pair->cap.max_inline_data)) return EINVAL;
    pair->n_outstanding++;
    struct send send = {wr->wr_id, (wr->send_flags & JK_SEND_SIGNALED) != 0, n_bytes, NULL};
    send.bytes = (uint8_t*)(uintptr_t)wr->sg_list[0].addr;
    uint8_t* joined = NULL;
    if (wr->num_sge > 1) {
      joined = malloc(n_bytes);
      uint32_t at = 0;
      for (int i = 0; i < wr->num_sge; i++) {
        memcpy(joined + at, (void*)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
        at += wr->sg_list[i].length;
      }
      send.bytes = joined;
    }
    if (pair->broken) {
      complete_send(pair, send.id, JK_WC_WR_FLUSH_ERR);
    } else if (pair->n_waiting_out < pair->n_waiting_in || !transmit(pair, &send)) {
      uint8_t* copy = malloc(n_bytes ? n_bytes : 1);
      memcpy(copy, send.bytes, n_bytes);
      send.bytes = copy;
      pair->waiting[pair->n_waiting_in++ % kRequests] = send;
    }
    free(joined);
  }
  return 0;
}

static int post_recv(struct jk_ibv_qp* qp, struct jk_ibv_recv_wr* wr, struct jk_ibv_recv_wr** bad) {
  struct queue_pair* pair = (struct queue_pair*)qp;
  for (; wr; wr = wr->next) {
    *bad = wr;
    if (pair->state < JK_QPS_INIT || wr->num_sge != 1) return EINVAL;
    if (pair->n_receives_posted - pair->n_receives_used == pair->cap.max_recv_wr) return ENOMEM;
    if (!is_registered(pair, &wr->sg_list[0])) return EFAULT;
    struct receive* receive = &pair->receives[pair->n_receives_posted++ % kRequests];
    receive->id = wr->wr_id;
    receive->place = (uint8_t*)(uintptr_t)wr->sg_list[0].addr;
    receive->n_bytes = wr->sg_list[0].length;
    atomic_fetch_add(&pair->own->n_posted, 1);
  }
  return 0;
}

// --- polling ---

static void go_on(struct queue_pair* pair) {
  struct context* context = of(pair->base.context);
  if (refresh(context)) {
    atomic_store(&pair->own->unreachable, context->is_down || context->is_cut);
    if (pair->peer && is_dead(pair->peer->pid)) atomic_store(&pair->peer->alive, 0);
    context->refreshed_at = pair->next ? 0 : context->refreshed_at;
  }
  while (pair->n_waiting_out < pair->n_waiting_in) {
    struct send* send = &pair->waiting[pair->n_waiting_out % kRequests];
    if (pair->broken) {
      complete_send(pair, send->id, JK_WC_WR_FLUSH_ERR);
    } else if (!transmit(pair, send)) {
      break;
    }
    free(send->bytes);
    pair->n_waiting_out++;
  }
}

static bool take_receive(struct queue_pair* pair, struct jk_ibv_wc* wc) {
  struct pair* own = pair->own;
  const uint64_t n = atomic_load(&own->n_taken);
  if (n == atomic_load(&own->n_sent) || pair->n_receives_used == pair->n_receives_posted) return false;
  struct entry* entry = &own->ring[n % kEntries];
  if (entry->visible_at && now_ns() < entry->visible_at) return false;
  const struct receive* receive = &pair->receives[pair->n_receives_used++ % kRequests];
  memset(wc, 0, sizeof *wc);
  wc->wr_id = receive->id;
  wc->opcode = JK_WC_OP_RECV;
  wc->qp_num = pair->base.qp_num;
  wc->byte_len = entry->n_bytes;
  const bool is_equal = (entry->n_bytes + kFrame - 1) / kFrame == (receive->n_bytes + kFrame - 1) / kFrame;
  if (entry->n_bytes > receive->n_bytes || (of(pair->base.context)->apple && !is_equal)) {
    wc->status = JK_WC_LOC_LEN_ERR;
  } else {
    memcpy(receive->place, entry->bytes, entry->n_bytes);
  }
  atomic_store(&own->n_taken, n + 1);
  return true;
}

static bool take_send(struct queue_pair* pair, struct jk_ibv_wc* wc) {
  if (pair->n_done_out == pair->n_done_in) return false;
  *wc = pair->done[pair->n_done_out % kCompletions];
  pair->n_outstanding -= pair->covers[pair->n_done_out % kCompletions];
  pair->n_done_out++;
  return true;
}

static int poll_cq(struct jk_ibv_cq* cq, int n, struct jk_ibv_wc* wc) {
  static _Thread_local uint32_t dice = 12345;
  const bool reorders = of(cq->context)->reorders;
  int found = 0;
  for (struct queue_pair* each = cq->pairs; each; each = each->next) {
    go_on(each);
    bool sends_first = true, sends = true;
    if (reorders) {
      dice = dice * 1664525u + 1013904223u;
      sends_first = dice >> 31;
      sends = (dice >> 28) % 8 == 0 || each->n_outstanding == each->cap.max_send_wr;
    }
    while (found < n && sends_first && sends && take_send(each, &wc[found])) found++;
    while (found < n && take_receive(each, &wc[found])) found++;
    while (found < n && sends && take_send(each, &wc[found])) found++;
  }
  return found;
}
