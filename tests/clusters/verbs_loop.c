// How fast ranks have bytes of each other over bare verbs: every rank sends to every other and waits for
// theirs. What an all_sum of few bytes is compared with; nothing is checked, agreed on, or survived.
//
//   verbs_loop DEVICE GID_INDEX RANKS BYTES ROUNDS rc|uc      prints the microseconds of a round
#define _GNU_SOURCE
#include <infiniband/verbs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kMostRanks = 8, kDepth = 4, kSlot = 64 };

// Of all ranks, in memory that they share: queue pair [i][j] is rank i's to rank j.
struct shared {
  uint32_t number[kMostRanks][kMostRanks];
  union ibv_gid gid;
  int n_arrived;
};

static void check(int is_good, const char* what) {
  if (is_good) return;
  perror(what);
  exit(1);
}

static void meet(struct shared* shared, int n) {
  int target = (__atomic_fetch_add(&shared->n_arrived, 1, __ATOMIC_SEQ_CST) / n + 1) * n;
  while (__atomic_load_n(&shared->n_arrived, __ATOMIC_SEQ_CST) < target) sched_yield();
}

static void lead_to(struct ibv_qp* qp, uint32_t peer, const union ibv_gid* gid, int gid_index, int is_rc) {
  struct ibv_qp_attr ready = {.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = peer};
  ready.max_dest_rd_atomic = 1;
  ready.min_rnr_timer = 12;
  ready.ah_attr.is_global = 1;
  ready.ah_attr.port_num = 1;
  ready.ah_attr.grh.dgid = *gid;
  ready.ah_attr.grh.sgid_index = gid_index;
  ready.ah_attr.grh.hop_limit = 64;
  int always = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
  int of_rc = is_rc ? IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER : 0;
  check(ibv_modify_qp(qp, &ready, always | of_rc) == 0, "ready to receive");
  struct ibv_qp_attr send = {.qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 6, .rnr_retry = 7};
  send.max_rd_atomic = 1;
  of_rc = is_rc ? IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC : 0;
  check(ibv_modify_qp(qp, &send, IBV_QP_STATE | IBV_QP_SQ_PSN | of_rc) == 0, "ready to send");
}

static void post_receive(struct ibv_qp* qp, struct ibv_mr* region, char* slot, int peer) {
  struct ibv_sge piece = {.addr = (uintptr_t)slot, .length = kSlot, .lkey = region->lkey};
  struct ibv_recv_wr wanted = {.wr_id = peer, .sg_list = &piece, .num_sge = 1}, *bad;
  check(ibv_post_recv(qp, &wanted, &bad) == 0, "post a receive");
}

static void run(struct shared* shared, char** words, int rank, int n) {
  int gid_index = atoi(words[2]), n_bytes = atoi(words[4]), n_rounds = atoi(words[5]);
  int is_rc = strcmp(words[6], "rc") == 0;
  struct ibv_device **devices = ibv_get_device_list(NULL), **device = devices;
  check(devices != NULL, "list the devices");
  while (*device && strcmp(ibv_get_device_name(*device), words[1]) != 0) device++;
  check(*device != NULL, words[1]);
  struct ibv_context* context = ibv_open_device(*device);
  check(context != NULL, "open the device");
  struct ibv_pd* pd = ibv_alloc_pd(context);
  struct ibv_cq* cq = ibv_create_cq(context, 64, NULL, NULL, 0);
  static char memory[(kMostRanks * kDepth + 1) * kSlot];
  struct ibv_mr* region = ibv_reg_mr(pd, memory, sizeof memory, IBV_ACCESS_LOCAL_WRITE);
  check(pd && cq && region, "allocate");
  char* own = memory + kMostRanks * kDepth * kSlot;
  struct ibv_qp* qps[kMostRanks];
  for (int peer = 0; peer < n; peer++) {
    if (peer == rank) continue;
    struct ibv_qp_init_attr made = {.send_cq = cq, .recv_cq = cq, .qp_type = is_rc ? IBV_QPT_RC : IBV_QPT_UC};
    made.cap = (struct ibv_qp_cap){
        .max_send_wr = 16, .max_recv_wr = 16, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = kSlot};
    qps[peer] = ibv_create_qp(pd, &made);
    check(qps[peer] != NULL, "create a queue pair");
    struct ibv_qp_attr start = {.qp_state = IBV_QPS_INIT, .port_num = 1};
    int mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
    check(ibv_modify_qp(qps[peer], &start, mask) == 0, "initialise a queue pair");
    for (int i = 0; i < kDepth; i++)
      post_receive(qps[peer], region, memory + (peer * kDepth + i) * kSlot, peer);
    shared->number[rank][peer] = qps[peer]->qp_num;
  }
  check(ibv_query_gid(context, 1, gid_index, &shared->gid) == 0, "query the address");
  meet(shared, n);
  for (int peer = 0; peer < n; peer++) {
    if (peer != rank) lead_to(qps[peer], shared->number[peer][rank], &shared->gid, gid_index, is_rc);
  }
  meet(shared, n);

  // A peer is one round ahead at most: it waits for what this rank sends.
  int came[kMostRanks] = {0}, n_under_way = 0;
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  for (int round = 0; round < n_rounds; round++) {
    for (int peer = 0; peer < n; peer++) {
      if (peer == rank) continue;
      struct ibv_sge piece = {.addr = (uintptr_t)own, .length = n_bytes, .lkey = region->lkey};
      struct ibv_send_wr wanted = {
          .wr_id = kMostRanks, .sg_list = &piece, .num_sge = 1, .opcode = IBV_WR_SEND};
      wanted.send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE;
      struct ibv_send_wr* bad;
      check(ibv_post_send(qps[peer], &wanted, &bad) == 0, "post a send");
      n_under_way++;
    }
    for (int n_missing = n - 1; n_missing > 0 || n_under_way > 4 * n;) {
      n_missing = 0;
      struct ibv_wc done[16];
      int n_done = ibv_poll_cq(cq, 16, done);
      check(n_done >= 0, "poll");
      for (int i = 0; i < n_done; i++) {
        check(done[i].status == IBV_WC_SUCCESS, ibv_wc_status_str(done[i].status));
        int peer = (int)done[i].wr_id;
        if (peer == kMostRanks) {
          n_under_way--;
        } else {
          post_receive(qps[peer], region, memory + (peer * kDepth + came[peer] % kDepth) * kSlot, peer);
          came[peer]++;
        }
      }
      for (int peer = 0; peer < n; peer++) n_missing += peer != rank && came[peer] <= round;
      if (n_done == 0) sched_yield();
    }
  }
  clock_gettime(CLOCK_MONOTONIC, &after);
  meet(shared, n);
  double seconds = (after.tv_sec - before.tv_sec) + 1e-9 * (after.tv_nsec - before.tv_nsec);
  if (rank == 0) printf("%.2f\n", seconds / n_rounds * 1e6);
}

int main(int argc, char** argv) {
  int n = argc == 7 ? atoi(argv[3]) : 0;
  if (n < 2 || n > kMostRanks || atoi(argv[4]) > kSlot) {
    fprintf(stderr, "usage: %s DEVICE GID_INDEX RANKS BYTES ROUNDS rc|uc\n", argv[0]);
    return 2;
  }
  struct shared* shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(shared != MAP_FAILED, "mmap");
  setpgid(0, 0);
  int failed = 0, status;
  for (int rank = 0; rank < n; rank++) {
    if (fork() == 0) {
      run(shared, argv, rank, n);
      return fflush(stdout);
    }
  }
  // The others of a rank that failed would wait for it for ever.
  while (wait(&status) > 0) {
    if (status == 0 || failed++) continue;
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
  }
  return failed != 0;
}
