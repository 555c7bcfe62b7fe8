#include "verbs_library.h"

#include <dlfcn.h>

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>

#include "error.h"

namespace jobkit {
namespace {

#ifdef __APPLE__
constexpr const char* kPlaces[] = {"librdma.dylib", "/usr/lib/librdma.dylib"};
constexpr const char* kHint = "it comes with macOS 26.2 and later";
#else
constexpr const char* kPlaces[] = {"libibverbs.so.1"};
constexpr const char* kHint = "install libibverbs1, or rdma-core";
#endif

std::string last_problem() {
  const char* text = ::dlerror();
  return text ? text : "unknown";
}

template <typename Function>
bool find(void* library, const char* name, Function& into) {
  into = reinterpret_cast<Function>(::dlsym(library, name));
  return into != nullptr;
}

// The name of the first function that is missing and must not be, "" when all are there.
std::string fill(VerbsLibrary& verbs, void* library) {
#define NEED(function) \
  if (!find(library, "ibv_" #function, verbs.function)) return "ibv_" #function
#define WANT(function) find(library, "ibv_" #function, verbs.function)
  NEED(get_device_list);
  NEED(free_device_list);
  NEED(get_device_name);
  NEED(open_device);
  NEED(close_device);
  NEED(query_device);
  NEED(query_port);
  NEED(query_gid);
  NEED(alloc_pd);
  NEED(dealloc_pd);
  NEED(reg_mr);
  NEED(dereg_mr);
  NEED(create_cq);
  NEED(destroy_cq);
  NEED(create_qp);
  NEED(modify_qp);
  NEED(destroy_qp);
  WANT(wc_status_str);
  WANT(create_comp_channel);
  WANT(destroy_comp_channel);
  WANT(get_cq_event);
  WANT(ack_cq_events);
  WANT(get_async_event);
  WANT(ack_async_event);
  WANT(fork_init);
  find(library, "_ibv_query_gid_ex", verbs.query_gid_ex);
#undef NEED
#undef WANT
  return "";
}

std::unique_ptr<VerbsLibrary> open(const std::string& path, std::string& problem) {
  void* library = nullptr;
  auto made = std::make_unique<VerbsLibrary>();
  for (const char* place : kPlaces) {
    made->name = path.empty() ? place : path;
    library = ::dlopen(made->name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library || !path.empty()) break;
  }
  if (!library) {
    problem = "no verbs library: " + last_problem();
    if (path.empty()) problem += std::string(" (") + kHint + ")";
    return nullptr;
  }
  if (std::string missing = fill(*made, library); !missing.empty()) {
    problem = made->name + " has no " + missing;
    return nullptr;
  }
  // Before anything is registered: registered pages are no child's, so that a fork cannot take them away.
  if (made->fork_init) made->fork_init();
  return made;
}

}  // namespace

const VerbsLibrary* VerbsLibrary::load(const std::string& path, std::string& problem) {
  static std::mutex mutex;
  static auto* const loaded = new std::map<std::string, std::unique_ptr<VerbsLibrary>>;
  std::lock_guard lock(mutex);
  auto& library = (*loaded)[path];
  if (!library) library = open(path, problem);
  return library.get();
}

std::vector<std::string> VerbsLibrary::device_names(std::string& problem) const {
  int n = 0;
  errno = 0;
  jk_ibv_device** list = get_device_list(&n);
  std::vector<std::string> names;
  for (int i = 0; list && i < n; i++) names.emplace_back(get_device_name(list[i]));
  // Without its kernel module the library has no list at all.
  const bool has_none = list ? names.empty() : errno == ENOSYS;
  if (!list && !has_none) problem = name + ": the list of RDMA devices: " + system_text(errno);
  if (has_none) problem = name + ": there is no RDMA device";
  if (list) free_device_list(list);
  return names;
}

std::string VerbsLibrary::status_text(int status) const {
  const std::string text = wc_status_str ? wc_status_str(status) : "failed";
  return text + " (status " + std::to_string(status) + ")";
}

}  // namespace jobkit
