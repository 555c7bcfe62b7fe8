// all_reduce on the host, between hosts, on the host: each byte crosses from host to host once for each other
// host, whatever the number of ranks. For as many ranks on every host.
//
// Rank l of a host reduces segment l of its host's inputs; the l-th ranks of all hosts do a two-shot with
// their segment l; then the ranks of a host give each other the finished segments. Where the ranks of a host
// follow each other and both numbers are powers of two this is the fixed tree in rank order, else the same
// tree first on the hosts and then between them.
#include <algorithm>

#include "plans.h"

namespace jobkit::plans {
namespace {

enum Message : uint32_t { kOnHost, kBetween, kFinished, kBack };

// Visits the other positions of a list, beginning after `own`.
template <typename Visit>
void for_each_other(size_t size, size_t own, Visit visit) {
  for (size_t distance = 1; distance < size; distance++) visit((own + distance) % size);
}

}  // namespace

Plan two_level_all_reduce(const Request& r) {
  std::vector<std::vector<int>> hosts = hosts_of(r);
  size_t n_hosts = hosts.size(), n_local = hosts[0].size(), host = 0, local = 0;
  for (size_t h = 0; h < n_hosts; h++) {
    size_t l = std::find(hosts[h].begin(), hosts[h].end(), r.rank) - hosts[h].begin();
    if (l < n_local) host = h, local = l;
  }
  const std::vector<int>& here = hosts[host];
  auto in = [&](size_t l) { return piece(whole(Buffer::kInput, r.count), l, n_local); };
  auto out = [&](size_t l) { return piece(whole(Buffer::kOutput, r.count), l, n_local); };
  auto part = [&](size_t h) { return piece(out(local), h, n_hosts); };

  Builder plan;
  std::vector<Operand> operands(n_local);
  operands[local] = {in(local)};
  for_each_other(n_local, local,
                 [&](size_t l) { operands[l] = plan.stream(here[l], kOnHost, in(local).count); });
  for_each_other(n_local, local, [&](size_t l) { plan.send(here[l], kOnHost, in(l)); });
  int on_host = plan.reduce(operands, out(local), false);

  operands.assign(n_hosts, {});
  operands[host] = {part(host)};
  for_each_other(n_hosts, host,
                 [&](size_t h) { operands[h] = plan.stream(hosts[h][local], kBetween, part(host).count); });
  for_each_other(n_hosts, host, [&](size_t h) { plan.send(hosts[h][local], kBetween, part(h), {on_host}); });
  Steps finished{plan.reduce(operands, part(host), true, {on_host})};
  int own = finished[0];
  for_each_other(n_hosts, host,
                 [&](size_t h) { finished.push_back(plan.receive(hosts[h][local], kFinished, part(h))); });
  for_each_other(n_hosts, host, [&](size_t h) { plan.send(hosts[h][local], kFinished, part(host), {own}); });

  for_each_other(n_local, local, [&](size_t l) { plan.receive(here[l], kBack, out(l)); });
  for_each_other(n_local, local, [&](size_t l) { plan.send(here[l], kBack, out(local), finished); });
  return plan.take();
}

}  // namespace jobkit::plans
